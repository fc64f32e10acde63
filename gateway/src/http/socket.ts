/** One message of a WebSocket. Text is valid UTF-8 (uWS refuses other frames with 1007). */
export type SocketMessage =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'binary'; readonly bytes: Uint8Array };

/** An open WebSocket, as handlers see it. */
export interface Socket {
  /**
   * Messages in order; ends when the peer closes. A peer that sends faster than they are read, by more than
   * `MAX_UNREAD_BYTES`, is closed with 1013: uWS cannot pause a WebSocket.
   */
  readonly messages: AsyncIterable<SocketMessage>;
  /** Resolves when the peer keeps up (less than `HIGH_WATER_BYTES` unsent); rejects when the socket is closed. */
  send(data: string | Uint8Array): Promise<void>;
  sendJson(value: unknown): Promise<void>;
  close(code?: number, reason?: string): void;
  /** Aborted when the socket is closed, by either side. */
  readonly signal: AbortSignal;
}
