/** Bytes of a request, in order, pulled by the reader; throws when the client goes away or sends more than allowed. */
export type ByteStream = AsyncIterable<Buffer>;
