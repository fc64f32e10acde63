import { Session } from 'node:inspector/promises';
import { stripTypeScriptTypes } from 'node:module';
import { mimeBundle } from './display.mjs';
import { installImports } from './imports.mjs';
import { rewrite } from './rewrite.mjs';

/** Where the value of a cell is put for us to look at. */
const RESULT = Symbol.for('wrenn.result');

/**
 * Runs cells in the global scope by way of V8's inspector: it knows `await` at the top level, and gives the value of
 * the last expression.
 */
export class Evaluator {
  #session = new Session();
  #typescript;
  #stop = () => {};

  constructor({ typescript }) {
    this.#typescript = typescript;
    this.#session.connect();
    installImports();
  }

  /** @returns `{data}`, the media bundle of a value if there is one, or `{error: {ename, evalue, traceback}}`. */
  async run(code, number) {
    const stopped = new Promise((resolve) => {
      this.#stop = () => resolve({ error: interrupted() });
    });
    return Promise.race([this.#evaluate(code, number), stopped]);
  }

  /** Gives up what waits; code that does not let go has been terminated by the worker already. */
  interrupt() {
    this.#stop();
  }

  async #evaluate(code, number) {
    let expression;
    try {
      expression = rewrite(this.#typescript ? stripTypeScriptTypes(code, { mode: 'transform' }) : code);
    } catch (error) {
      return { error: failure(error.name ?? 'SyntaxError', error.message, [`${error.name}: ${error.message}`]) };
    }
    const evaluation = this.#session.post('Runtime.evaluate', {
      expression: `${expression}\n//# sourceURL=cell-${number}`,
      replMode: true,
      awaitPromise: true,
    });
    // Errors of the cell are results; the inspector itself fails when the run was terminated.
    const answer = await evaluation.catch(() => undefined);
    if (answer === undefined) return { error: interrupted() };
    const { result, exceptionDetails } = answer;
    if (exceptionDetails) return { error: this.#errorOf(exceptionDetails) };
    return { data: await this.#bundleOf(result) };
  }

  async #bundleOf(result) {
    if (result.type === 'undefined') return undefined;
    if (result.objectId === undefined) return mimeBundle(primitive(result));
    await this.#session.post('Runtime.callFunctionOn', {
      objectId: result.objectId,
      functionDeclaration: `function () { 'use strict'; globalThis[Symbol.for('wrenn.result')] = this; }`,
    });
    const value = globalThis[RESULT];
    delete globalThis[RESULT];
    await this.#session.post('Runtime.releaseObject', { objectId: result.objectId });
    return mimeBundle(value);
  }

  #errorOf({ exception, text }) {
    if (exception === undefined) return failure('Error', text, [text]);
    const description = exception.description ?? String(exception.value);
    if (exception.subtype !== 'error') return failure('Error', description, [`Uncaught ${description}`]); // throw 'text'
    const lines = description.split('\n');
    const ours = lines.findIndex((line) => /^\s+at .*\(?node:(inspector|internal)/.test(line));
    const traceback = ours === -1 ? lines : lines.slice(0, ours);
    const [, name, message] = /^([\w$.]+)(?:: ([\s\S]*))?$/.exec(messageOf(traceback)) ?? [];
    return failure(exception.className ?? name ?? 'Error', message ?? (name ? '' : description), traceback);
  }
}

/** What stands above the stack. */
function messageOf(lines) {
  const stack = lines.findIndex((line) => /^\s+at /.test(line));
  return (stack === -1 ? lines : lines.slice(0, stack)).join('\n');
}

function failure(ename, evalue, traceback) {
  return { ename, evalue, traceback };
}

function interrupted() {
  return failure('KeyboardInterrupt', 'the run was interrupted', ['KeyboardInterrupt: the run was interrupted']);
}

function primitive({ type, value, unserializableValue }) {
  if (unserializableValue === undefined) return value;
  return type === 'bigint' ? BigInt(unserializableValue.slice(0, -1)) : Number(unserializableValue);
}
