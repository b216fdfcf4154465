// The user's own account.

import { open, user } from "../api/session";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Fact, Identifier, Text } from "../ui/content";
import { Page } from "../ui/page";
import { ProblemNotice } from "../ui/states";
import { Password } from "./password";
import { SecondFactor } from "./second-factor";
import { Sessions } from "./sessions";

export function Account() {
  return (
    <Page title={text.account.title}>
      <Profile />
      <Sessions />
      <Password />
      <SecondFactor />
      <footer class="section small">
        <a href="/docs/">{text.account.reference}</a> · <a href="licenses.txt">{text.account.licenses}</a>
      </footer>
    </Page>
  );
}

function Profile() {
  const me = user.value;
  if (!me) return null;
  return (
    <dl class="card facts">
      <Fact label={text.account.username}>
        <Text value={me.username} />
      </Fact>
      <Fact label={text.fields.email}>
        <Text value={me.email} />
        {!me.emailVerified && <EmailVerification email={me.email} />}
      </Fact>
      <Fact label={text.account.role}>
        {me.role === Role.ADMIN ? text.account.admin : text.account.user}
      </Fact>
      <Fact label={text.account.secondFactor}>
        <Badge kind={me.secondFactor ? "good" : "neutral"}>{me.secondFactor ? text.account.on : text.account.off}</Badge>
      </Fact>
      <Fact label={text.patient.id}>
        <Identifier value={me.id} />
      </Fact>
    </dl>
  );
}

function EmailVerification({ email }: { email: string }) {
  const { busy, problem, run } = useAction();
  const send = () => void run(() => open.requestEmailVerification({ email }), text.account.mailSent);
  return (
    <>
      {" "}
      <Badge kind="neutral">{text.account.unverified}</Badge>{" "}
      <button type="button" class="small" onClick={send} disabled={busy}>
        {text.account.verify}
      </button>
      {problem && <ProblemNotice title={text.account.mailFailed} problem={problem} />}
    </>
  );
}
