// Errors of calls, in the form in which the views show them.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema } from "../gen/google/rpc/error_details_pb";
import { text } from "../strings";

export interface Problem {
  code: Code;
  /** The reason of google.rpc.ErrorInfo. Empty if the error does not come from PulseTrack. */
  reason: string;
  message: string;
  /** Messages by field name, such as `date_of_birth`. */
  fields: Record<string, string>;
  requestId: string;
}

export function toProblem(error: unknown): Problem {
  const failure = ConnectError.from(error);
  const reason = reasonOf(failure);
  const fields: Record<string, string> = {};
  for (const violation of failure.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations)) {
    fields[violation.field.replace(/^\w+\./, "")] ??= violation.description;
  }
  return {
    code: failure.code,
    reason,
    message: describe(failure, reason),
    fields,
    requestId: failure.findDetails(RequestInfoSchema)[0]?.requestId ?? "",
  };
}

export function reasonOf(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

/** Returns whether the gateway could not be reached at all. */
export function isUnreachable(error: unknown): boolean {
  return ConnectError.from(error).cause instanceof TypeError;
}

export function isAborted(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled;
}

function describe(failure: ConnectError, reason: string): string {
  if (isUnreachable(failure)) return text.problems["unreachable"]!;
  if (failure.code === Code.Unavailable) return text.problems["unavailable"]!;
  return text.problems[reason] ?? failure.rawMessage;
}
