/** Output as text: UTF-8 that is never split inside a character, or base64. Bytes that are no UTF-8 become U+FFFD. */
export class OutputText {
  readonly #decoders: Readonly<Record<'stdout' | 'stderr', ReturnType<typeof decoder>>> | null;

  constructor(encoding: 'utf-8' | 'base64') {
    this.#decoders = encoding === 'base64' ? null : { stdout: decoder(), stderr: decoder() };
  }

  /** What can be told now; may be empty while a character is incomplete. */
  add(channel: 'stdout' | 'stderr', bytes: Uint8Array): string {
    if (!this.#decoders) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
    return this.#decoders[channel].decode(bytes, { stream: true });
  }

  /** What was left of an incomplete character at the end. */
  rest(channel: 'stdout' | 'stderr'): string {
    return this.#decoders?.[channel].decode() ?? '';
  }
}

const decoder = () => new TextDecoder('utf-8', { ignoreBOM: true });
