// All users. Admins change their role and disable them.

import { auths } from "../api/clients";
import { usePages } from "../api/hooks";
import { user as me } from "../api/session";
import type { User } from "../gen/pulsetrack/auth/v1/auth_pb";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Text, Time } from "../ui/content";
import { PageList } from "../ui/page-list";
import { ProblemNotice } from "../ui/states";
import { Table, type Column } from "../ui/table";

export function Users() {
  const { busy, problem, run } = useAction();
  const pages = usePages(
    (pageToken, signal) => auths.listUsers({ pageToken }, { signal }),
    (page) => page.users,
    [],
  );
  const change = (user: User, fields: { role: Role } | { disabled: boolean }, message: string) =>
    run(async () => {
      const updateMask = { paths: Object.keys(fields) };
      const changed = await auths.updateUser({ user: { id: user.id, ...fields }, updateMask });
      pages.items.value = pages.items.value.map((each) => (each.id === changed.id ? changed : each));
    }, message);
  const actions = (user: User) => {
    const isAdmin = user.role === Role.ADMIN;
    return (
      <>
        <button
          type="button"
          disabled={busy}
          onClick={() => void change(user, { role: isAdmin ? Role.USER : Role.ADMIN }, text.users.changed)}
        >
          {isAdmin ? text.users.makeUser : text.users.makeAdmin}
        </button>
        <button
          type="button"
          disabled={busy}
          onClick={() => void change(user, { disabled: !user.disabled }, text.users.changed)}
        >
          {user.disabled ? text.users.enable : text.users.disable}
        </button>
      </>
    );
  };
  const columns: Column<User>[] = [
    { label: text.users.user, cell: (user) => <Name user={user} /> },
    { label: text.account.role, cell: (user) => <RoleBadge role={user.role} /> },
    { label: text.account.secondFactor, cell: (user) => (user.secondFactor ? text.account.on : text.account.off) },
    { label: text.patient.created, cell: (user) => <Time at={user.createTime} />, kind: "number" },
    {
      label: text.users.actions,
      kind: "actions",
      cell: (user) => (user.id === me.value?.id ? <span class="muted">{text.you}</span> : actions(user)),
    },
  ];
  return (
    <>
      {problem && <ProblemNotice title={text.users.notChanged} problem={problem} />}
      <PageList pages={pages} failed={text.users.failed} empty={null}>
        {(users) => <Table items={users} columns={columns} identify={(user) => user.id} />}
      </PageList>
    </>
  );
}

function Name({ user }: { user: User }) {
  return (
    <>
      <strong>
        <Text value={user.username} />
      </strong>{" "}
      {user.disabled && <Badge kind="bad">{text.users.disabled}</Badge>}
      <span class="muted small block">
        <Text value={user.email} />
      </span>
    </>
  );
}

export function RoleBadge({ role }: { role: Role }) {
  return role === Role.ADMIN ? (
    <Badge kind="accent">{text.account.admin}</Badge>
  ) : (
    <Badge kind="neutral">{text.account.user}</Badge>
  );
}
