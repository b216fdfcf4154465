// The user's own account.

import { user } from "../api/session";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { text } from "../strings";
import { Badge, Identifier, Text } from "../ui/content";
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
      <div>
        <dt>{text.account.username}</dt>
        <dd>
          <Text value={me.username} />
        </dd>
      </div>
      <div>
        <dt>{text.fields.email}</dt>
        <dd>
          <Text value={me.email} />
        </dd>
      </div>
      <div>
        <dt>{text.account.role}</dt>
        <dd>{me.role === Role.ADMIN ? text.account.admin : text.account.user}</dd>
      </div>
      <div>
        <dt>{text.account.secondFactor}</dt>
        <dd>
          <Badge kind={me.secondFactor ? "good" : "neutral"}>{me.secondFactor ? text.account.on : text.account.off}</Badge>
        </dd>
      </div>
      <div>
        <dt>{text.patient.id}</dt>
        <dd>
          <Identifier value={me.id} />
        </dd>
      </div>
    </dl>
  );
}
