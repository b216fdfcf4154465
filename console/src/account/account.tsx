// The user's own account.

import { user } from "../api/session";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { text } from "../strings";
import { Badge, Fact, Identifier, Text } from "../ui/content";
import { Page } from "../ui/page";
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
