// The pages that links in mail lead to, and the request of a password reset. They need no session.

import type { TargetedEvent } from "preact";
import { useState } from "preact/hooks";
import { open } from "../api/session";
import { closePage, type MailPage } from "../router";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Field } from "../ui/field";
import { readForm, type FormValues } from "../ui/form";
import { Notice } from "../ui/states";
import { SignInCard } from "./sign-in-card";

interface Page {
  texts: { title: string; hint: string; submit: string; done: string };
  fields: Parameters<typeof Field>[0][];
  send: (token: string, values: FormValues) => Promise<unknown>;
}

const newPassword = { type: "password", autoComplete: "new-password", hint: text.password.hint } as const;

const PAGES: Record<MailPage["name"], Page> = {
  "forgot-password": {
    texts: text.forgotPassword,
    fields: [{ name: "email", type: "email", label: text.signIn.email, autoComplete: "username" }],
    send: (_, values) => open.requestPasswordReset({ email: values("email") }),
  },
  "reset-password": {
    texts: text.resetPassword,
    fields: [{ ...newPassword, name: "new_password", label: text.password.next }],
    send: (token, values) => open.resetPassword({ token, newPassword: values("new_password") }),
  },
  "verify-email": {
    texts: text.verifyEmail,
    fields: [],
    send: (token) => open.verifyEmail({ token }),
  },
  "accept-invitation": {
    texts: text.acceptInvitation,
    fields: [
      { name: "username", label: text.acceptInvitation.username, autoComplete: "username" },
      { ...newPassword, name: "password", label: text.signIn.password },
    ],
    send: (token, values) => open.acceptInvitation({ token, username: values("username"), password: values("password") }),
  },
};

export function MailPageView({ name, token }: MailPage) {
  const { texts, fields, send } = PAGES[name];
  const [done, setDone] = useState(false);
  const { busy, problem, run } = useAction();
  const errors = problem?.fields ?? {};
  const isExplained = fields.some((field) => errors[field.name]);

  const submit = async (event: TargetedEvent<HTMLFormElement>) => {
    const values = readForm(event);
    if (await run(() => send(token, values))) setDone(true);
  };

  return (
    <SignInCard title={texts.title} onSubmit={submit}>
      {done ? <Notice kind="info">{texts.done}</Notice> : <p class="hint">{texts.hint}</p>}
      {problem && (errors["token"] || !isExplained) && (
        <Notice kind="error">{errors["token"] ? text.linkIncomplete : problem.message}</Notice>
      )}
      {!done && fields.map((field) => <Field key={field.name} {...field} error={errors[field.name]} />)}
      {!done && (
        <button type="submit" class="primary wide" disabled={busy}>
          {texts.submit}
        </button>
      )}
      <button type="button" class={done ? "primary wide" : "quiet wide"} onClick={closePage}>
        {text.toSignIn}
      </button>
    </SignInCard>
  );
}
