/** The execution service's own protocol, as a program without any SDK speaks it. */

// biome-ignore lint/suspicious/noExplicitAny: events of all kinds, looked into by tests
export type Event = { readonly type: string } & Record<string, any>;

export interface Run {
  readonly code: string;
  readonly language?: string;
  readonly context_id?: string;
  readonly env_vars?: Record<string, string>;
}

export class Interpreter {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** All events of one run but the keep-alives. */
  async run(run: Run, signal?: AbortSignal): Promise<Event[]> {
    const events: Event[] = [];
    for await (const event of this.stream(run, signal)) if (event.type !== 'keepalive') events.push(event);
    return events;
  }

  /** The events as they come. */
  async *stream(run: Run, signal?: AbortSignal): AsyncGenerator<Event> {
    const response = await this.call('POST', '/execute', run, signal);
    if (response.status !== 200 || response.body === null) throw new Error(await response.text());
    let rest = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) yield JSON.parse(line) as Event;
    }
    if (rest !== '') throw new Error(`the stream ends in mid-line: ${rest}`);
  }

  call(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    return fetch(this.url + path, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
  }

  async createContext(language?: string, cwd?: string): Promise<{ id: string; language: string; cwd: string }> {
    const response = await this.call('POST', '/contexts', { language, cwd });
    if (response.status !== 200) throw new Error(await response.text());
    return (await response.json()) as { id: string; language: string; cwd: string };
  }

  async contextIds(): Promise<string[]> {
    const contexts = (await (await this.call('GET', '/contexts')).json()) as { id: string }[];
    return contexts.map(({ id }) => id);
  }
}

/** What went to stdout. */
export function stdout(events: readonly Event[]): string {
  return events
    .filter(({ type }) => type === 'stdout')
    .map(({ text }) => text)
    .join('');
}

/** The value of the last expression, as text. */
export function mainResult(events: readonly Event[]): string | undefined {
  return events.find(({ type, is_main_result }) => type === 'result' && is_main_result)?.text;
}

export function errorOf(events: readonly Event[]): Event | undefined {
  return events.find(({ type }) => type === 'error');
}
