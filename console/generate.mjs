// Generates src/gen from gen/descriptors.binpb, as `protoc --es_out` would from the protos.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema } from "@bufbuild/protobuf/wkt/google/protobuf/compiler/plugin_pb.js";

const HERE = import.meta.dirname;
const PLUGIN = join(HERE, "node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es");
const OUTPUT = join(HERE, "src/gen");

// Declares options that only the services and the gateway read. Without them, the descriptors take a third of the size.
const IS_OPTION = /^(buf\/validate\/|google\/api\/(annotations|field_behavior|http)\.|pulsetrack\/options\/v1\/(rules|text)\.)/;
const IS_GENERATED = /^(pulsetrack|google\/(api\/httpbody|rpc))\b/;

function withoutOptions(file) {
  const clearMessage = (message) => {
    for (const field of message.field) if (field.options) field.options = undefined;
    message.nestedType.forEach(clearMessage);
  };
  file.messageType.forEach(clearMessage);
  for (const service of file.service) for (const method of service.method) method.options = undefined;
  file.dependency = file.dependency.filter((name) => !IS_OPTION.test(name));
  file.extension = [];
  file.publicDependency = [];
  return file;
}

const descriptors = fromBinary(FileDescriptorSetSchema, readFileSync(join(HERE, "../gen/descriptors.binpb")));
const files = descriptors.file.filter((file) => !IS_OPTION.test(file.name)).map(withoutOptions);
const request = create(CodeGeneratorRequestSchema, {
  parameter: "target=ts,import_extension=none",
  protoFile: files,
  fileToGenerate: files.map((file) => file.name).filter((name) => IS_GENERATED.test(name)),
});
const plugin = spawnSync(process.execPath, [PLUGIN], { input: toBinary(CodeGeneratorRequestSchema, request) });
const response = fromBinary(CodeGeneratorResponseSchema, plugin.stdout);
if (plugin.status !== 0 || response.error) throw new Error(response.error || String(plugin.stderr));

rmSync(OUTPUT, { recursive: true, force: true });
for (const { name, content } of response.file) {
  mkdirSync(dirname(join(OUTPUT, name)), { recursive: true });
  writeFileSync(join(OUTPUT, name), content);
}
