// The clients of the services. Their calls carry the user's access token.

import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AnalyticsService } from "../gen/pulsetrack/analytics/v1/analytics_pb";
import { AuthService } from "../gen/pulsetrack/auth/v1/auth_pb";
import { BillingService } from "../gen/pulsetrack/billing/v1/billing_pb";
import { PatientService } from "../gen/pulsetrack/patient/v1/patient_pb";
import { observe } from "./connection";
import { authenticate } from "./session";

const transport = createGrpcWebTransport({
  baseUrl: location.origin,
  interceptors: [authenticate, observe],
  defaultTimeoutMs: 20_000,
});

export const auths = createClient(AuthService, transport);
export const patients = createClient(PatientService, transport);
export const billing = createClient(BillingService, transport);
export const analytics = createClient(AnalyticsService, transport);
