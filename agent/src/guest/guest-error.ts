/** envd refused a call: its HTTP status and its words, which are the guest's own and fit for its user. */
export class GuestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'GuestError';
    this.status = status;
  }

  /** From envd's error body `{code, message}`; a body of another shape is not passed on. */
  static from(status: number, body: Buffer): GuestError {
    try {
      const { message } = JSON.parse(body.toString());
      if (typeof message === 'string') return new GuestError(status, message);
    } catch {}
    return new GuestError(status, `envd answered ${status}`);
  }
}
