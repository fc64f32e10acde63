import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type DescFile, type DescMessage, fromBinary } from '@bufbuild/protobuf';
import { type DescriptorProto, type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { file_filesystem_filesystem } from '@wrenn/proto/filesystem/filesystem_pb';
import { file_process_process } from '@wrenn/proto/process/process_pb';
import { describe, expect, test } from 'vitest';

/** The descriptors that the published SDK carries in its bundle, by proto package. */
function sdkFiles(): Map<string, FileDescriptorProto> {
  const bundle = readFileSync(createRequire(import.meta.url).resolve('e2b'), 'utf8');
  const encoded = [...bundle.matchAll(/fileDesc\)?\("([A-Za-z0-9+/=]+)"/g)].map((match) => match[1] ?? '');
  const files = encoded.map((text) => fromBinary(FileDescriptorProtoSchema, Buffer.from(text, 'base64')));
  return new Map(files.map((file) => [file.package, file]));
}

/** Everything that the binary codec depends on, and nothing else: one line per field, value and method. */
function wireFacts(file: FileDescriptorProto): string[] {
  const ofMessage = (message: DescriptorProto, prefix: string): string[] => [
    ...message.field.map(
      (field) =>
        `${prefix}${message.name}.${field.name}=${field.number} ${field.label} ${field.type} ${field.typeName}`,
    ),
    ...message.nestedType.flatMap((nested) => ofMessage(nested, `${prefix}${message.name}.`)),
  ];
  return [
    ...file.messageType.flatMap((message) => ofMessage(message, '')),
    ...file.enumType.flatMap((type) => type.value.map((value) => `${type.name}.${value.name}=${value.number}`)),
    ...file.service.flatMap((service) =>
      service.method.map(
        (method) =>
          `${service.name}.${method.name} ${method.inputType} ${method.clientStreaming} ${method.outputType} ${method.serverStreaming}`,
      ),
    ),
  ].sort();
}

/** VM7: our protos and the SDK's are the same on the wire. */
describe('guest protocol', () => {
  const sdk = sdkFiles();
  const ours: DescFile[] = [file_process_process, file_filesystem_filesystem];

  test.each(ours.map((file) => [file.proto.package, file] as const))('%s', (name, file) => {
    const published = sdk.get(name);
    if (!published) throw new Error(`the SDK carries no package ${name}`);
    expect(file.messages.map((message: DescMessage) => message.name)).toContain(
      name === 'process' ? 'StartRequest' : 'EntryInfo',
    );
    expect(wireFacts(file.proto)).toEqual(wireFacts(published));
    expect(wireFacts(file.proto).length).toBeGreaterThan(30);
  });
});
