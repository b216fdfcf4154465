// The billing account of a patient.

import { billing } from "../api/clients";
import { useLoaded } from "../api/hooks";
import { AccountStatus, type BillingAccount } from "../gen/pulsetrack/billing/v1/billing_pb";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge, Fact, Identifier, Text, Time } from "../ui/content";
import { Empty, Failed, Skeleton } from "../ui/states";

export function Billing({ patient }: { patient: Patient }) {
  const { value, problem, reload } = useLoaded(
    (signal) => billing.listBillingAccounts({ patientId: patient.id }, { signal }),
    [patient.id, patient.etag],
  );
  if (problem) return <Failed title={text.billing.failed} problem={problem} retry={reload} />;
  if (!value) return <Skeleton rows={4} />;
  const [account] = value.billingAccounts;
  if (account) return <Account account={account} />;
  return (
    <Empty title={text.billing.emptyTitle} hint={text.billing.emptyHint}>
      <button type="button" onClick={reload}>
        {text.retry}
      </button>
    </Empty>
  );
}

function Account({ account }: { account: BillingAccount }) {
  const isActive = account.status === AccountStatus.ACTIVE;
  return (
    <dl class="card facts">
      <Fact label={text.billing.status}>
        <Badge kind={isActive ? "good" : "neutral"}>{isActive ? text.billing.active : text.billing.closed}</Badge>
      </Fact>
      <Fact label={text.fields.name}>
        <Text value={account.name} />
      </Fact>
      <Fact label={text.fields.email}>
        <Text value={account.email} />
      </Fact>
      <Fact label={text.billing.opened}>
        <Time at={account.createTime} />
      </Fact>
      <Fact label={text.patient.id}>
        <Identifier value={account.id} />
      </Fact>
    </dl>
  );
}
