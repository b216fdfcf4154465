// Invitations. The token of a new invitation is shown once.

import type { TargetedEvent } from "preact";
import { useState } from "preact/hooks";
import { auths } from "../api/clients";
import { usePages } from "../api/hooks";
import { InvitationState, type Invitation } from "../gen/pulsetrack/auth/v1/auth_pb";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Identifier, Text, Time } from "../ui/content";
import { Field } from "../ui/field";
import { readForm } from "../ui/form";
import { PageList } from "../ui/page-list";
import { Empty, Notice, ProblemNotice } from "../ui/states";
import { Table, type Column } from "../ui/table";
import { RoleBadge } from "./users";

const KINDS = ["neutral", "warning", "good", "neutral", "neutral"] as const;

export function Invitations() {
  const { busy, problem, run } = useAction();
  const pages = usePages(
    (pageToken, signal) => auths.listInvitations({ pageToken }, { signal }),
    (page) => page.invitations,
    [],
  );
  const revoke = (invitation: Invitation) =>
    run(async () => {
      await auths.revokeInvitation({ id: invitation.id });
      await pages.restart();
    }, text.invitations.revoked);
  const columns: Column<Invitation>[] = [
    { label: text.fields.email, cell: (invitation) => <Text value={invitation.email} /> },
    { label: text.account.role, cell: (invitation) => <RoleBadge role={invitation.role} /> },
    {
      label: text.billing.status,
      cell: ({ state }) => <Badge kind={KINDS[state]}>{text.invitations.states[state]!}</Badge>,
    },
    { label: text.invitations.expires, cell: (invitation) => <Time at={invitation.expireTime} />, kind: "number" },
    {
      label: text.users.actions,
      kind: "actions",
      cell: (invitation) =>
        invitation.state === InvitationState.PENDING && (
          <button type="button" disabled={busy} onClick={() => void revoke(invitation)}>
            {text.invitations.revoke}
          </button>
        ),
    },
  ];
  return (
    <>
      <Invite onCreated={() => void pages.restart()} />
      {problem && <ProblemNotice title={text.invitations.notRevoked} problem={problem} />}
      <PageList
        pages={pages}
        failed={text.invitations.failed}
        empty={<Empty title={text.invitations.emptyTitle} hint={text.invitations.emptyHint} />}
      >
        {(items) => <Table items={items} columns={columns} identify={(invitation) => invitation.id} />}
      </PageList>
    </>
  );
}

function Invite({ onCreated }: { onCreated: () => void }) {
  const { busy, problem, run } = useAction();
  const [token, setToken] = useState("");
  const submit = async (event: TargetedEvent<HTMLFormElement>) => {
    const form = event.currentTarget;
    const values = readForm(event);
    const done = await run(async () => {
      const created = await auths.createInvitation({ email: values("email"), role: Number(values("role")) });
      setToken(created.token);
      onCreated();
    });
    if (done) form.reset();
  };
  const roles: [string, string][] = [
    [String(Role.USER), text.account.user],
    [String(Role.ADMIN), text.account.admin],
  ];
  return (
    <form class="card form inline" onSubmit={submit} noValidate>
      <Field name="email" type="email" label={text.invitations.email} error={problem?.fields["email"]} autoComplete="off" />
      <Field name="role" kind="select" label={text.account.role} options={roles} />
      <button type="submit" class="primary" disabled={busy}>
        {text.invitations.invite}
      </button>
      {problem && !problem.fields["email"] && <ProblemNotice title={text.invitations.notCreated} problem={problem} />}
      {token && (
        <Notice kind="info">
          <p>{text.invitations.token}</p>
          <Identifier value={token} />
        </Notice>
      )}
    </form>
  );
}
