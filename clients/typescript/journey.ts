// The journey of a user, with Connect clients: over gRPC in Node, and over gRPC-Web as in a browser.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { AuthService } from "./gen/pulsetrack/auth/v1/auth_pb.js";
import { type Patient, PatientService, RevisionType } from "./gen/pulsetrack/patient/v1/patient_pb.js";

const { URL, PASSWORD, TRANSPORT } = process.env;
assert(URL && PASSWORD);

let token = "";
const authorize: Interceptor = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const createTransport = TRANSPORT === "grpc-web" ? createGrpcWebTransport : createGrpcTransport;
const transport = createTransport({ baseUrl: URL, interceptors: [authorize], defaultTimeoutMs: 10_000 });
const auth = createClient(AuthService, transport);
const patients = createClient(PatientService, transport);

const word = randomUUID().replaceAll("-", "");
const newPatient = (name: string) => ({
  name,
  email: `${randomUUID()}@clinic.test`,
  address: "1 High Street, Porto",
  dateOfBirth: "1980-02-29",
});

/** Returns the reason and the invalid fields of the error with which a call fails. */
async function describeError(call: Promise<unknown>): Promise<string> {
  const error = await call.then(() => assert.fail("the call succeeded"), ConnectError.from);
  const reasons = error.findDetails(ErrorInfoSchema).map((info) => info.reason);
  const fields = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations.map(({ field }) => field));
  return [...reasons, ...fields.sort()].join(" ");
}

const tokens = await auth.login({ email: "admin@pulsetrack.local", password: PASSWORD });
token = tokens.accessToken;
console.log("logged in");

const request = { patient: newPatient(`Ana ${word}`), requestId: randomUUID() };
const created = await patients.createPatient(request);
assert.deepEqual(await patients.createPatient(request), created);
await patients.createPatient({ patient: newPatient(`Rui ${word}`), requestId: randomUUID() });
console.log("created once per request ID");

console.log("rejected:", await describeError(patients.createPatient({ patient: { name: "Ana", email: "x" } })));

assert.deepEqual(await patients.getPatient({ id: created.id }), created);
const found: Patient[] = [];
let pageToken = "";
do {
  const page = await patients.listPatients({ query: word, pageSize: 1, pageToken });
  found.push(...page.patients);
  pageToken = page.nextPageToken;
} while (pageToken);
console.log("listed:", found.length);

const change = {
  patient: { id: created.id, etag: created.etag, phone: "+351 21 000 000" },
  updateMask: { paths: ["phone"] },
};
let updated = false;
for await (const { revision } of patients.watchPatients({})) {
  if (!updated) {
    await patients.updatePatient(change); // the watch has begun with its first message
    updated = true;
  }
  if (revision?.patient?.id !== created.id) continue;
  console.log("watched:", `REVISION_TYPE_${RevisionType[revision.type]}`, revision.patient.phone);
  break;
}

console.log("rejected:", await describeError(patients.updatePatient(change)));

assert((await patients.deletePatient({ id: created.id })).deleteTime);
console.log("deleted");
