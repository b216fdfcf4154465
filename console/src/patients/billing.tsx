// The billing account of a patient.

import { billing } from "../api/clients";
import { useLoaded } from "../api/hooks";
import { AccountStatus, type BillingAccount } from "../gen/pulsetrack/billing/v1/billing_pb";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge, Identifier, Text, Time } from "../ui/content";
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
      <div>
        <dt>{text.billing.status}</dt>
        <dd>
          <Badge kind={isActive ? "good" : "neutral"}>{isActive ? text.billing.active : text.billing.closed}</Badge>
        </dd>
      </div>
      <div>
        <dt>{text.fields.name}</dt>
        <dd>
          <Text value={account.name} />
        </dd>
      </div>
      <div>
        <dt>{text.fields.email}</dt>
        <dd>
          <Text value={account.email} />
        </dd>
      </div>
      <div>
        <dt>{text.billing.opened}</dt>
        <dd>
          <Time at={account.createTime} />
        </dd>
      </div>
      <div>
        <dt>{text.patient.id}</dt>
        <dd>
          <Identifier value={account.id} />
        </dd>
      </div>
    </dl>
  );
}
