import type { MachineData, StateData, TransitionData } from './machine-as-data.ts';

const HEAD = `<!-- Written by \`node actors/src/render.ts\` from the machine; checked by its --check. Do not edit. -->`;

/** The machine as tables for people (README.md beside it). */
export function machineTables(data: MachineData): string {
  const states = flatten(data.root).filter(({ path, transitions }) => path !== '' && !isTransient(transitions));
  return [
    `# \`${data.kind}\`, version ${data.version}`,
    HEAD,
    'What the machine is for, and the rules that it keeps, stand above it in `machine.ts`.',
    '## States',
    table(
      ['state', 'kind', 'meaning', 'on entry', 'leaves on → to'],
      states.map((state) => [
        code(state.path),
        [state.type, ...state.tags].join(', '),
        state.description ?? '',
        state.entry.map(code).join(' '),
        state.transitions.map(transition).join('<br>'),
      ]),
    ),
    '## Deadlines',
    table(
      ['delay', 'length'],
      Object.entries(data.delays).map(([name, ms]) => [code(name), ms === null ? 'from the context' : duration(ms)]),
    ),
    '## Commands',
    table(
      ['command', 'title', 'answered'],
      data.commands.map(({ type, title, answer, creates }) => [
        code(type),
        title + (creates ? ' (brings it into being)' : ''),
        answer === 'now' ? 'by the commit that accepts it' : 'by the machine, later',
      ]),
    ),
    '## Effects',
    table(
      ['effect', 'open in', 'results', 'attempts'],
      data.effects.map(({ name, while: state, results, retry }) => [
        code(name),
        code(state),
        results.map(code).join(' '),
        `${retry.attempts ?? 'for ever'}, ${duration(retry.firstDelayMs)} × ${retry.factor} up to ${duration(retry.maxDelayMs)}`,
      ]),
    ),
    '',
  ].join('\n\n');
}

/** In a transient state nothing rests; its exits are told by those who lead there. */
const isTransient = (transitions: readonly TransitionData[]): boolean =>
  transitions.some(({ event, delay }) => event === '' && delay === undefined);

function flatten(state: StateData): StateData[] {
  return [state, ...state.states.flatMap(flatten)];
}

function transition({ event, delay, guards, targets, actions, reenter }: TransitionData): string {
  const when = code(delay ?? event) + (guards.length > 0 ? ` [${guards.join(' and ')}]` : '');
  const where = targets.length > 0 ? ` → ${targets.map(code).join(' ')}` : ' stays';
  const anew = reenter && targets.length > 0 ? ' anew' : '';
  return when + where + anew + (actions.length > 0 ? `: ${actions.join(', ')}` : '');
}

const code = (text: string): string => `\`${text}\``;

function duration(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  return ms < 600_000 ? `${ms / 1_000} s` : `${ms / 60_000} min`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}
