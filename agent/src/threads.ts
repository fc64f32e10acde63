/**
 * Imported first: the threads that read and write files are started at their first use. With Node's four, as many reads of a
 * disk that hangs would stop the whole agent, and its journal with it.
 */
process.env.UV_THREADPOOL_SIZE ??= '32';
