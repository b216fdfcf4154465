// The sign-in, with the challenge of a second factor.

import type { TargetedEvent } from "preact";
import { useState } from "preact/hooks";
import { reasonOf } from "../api/problem";
import { ended, signIn, verify } from "../api/session";
import { openPage } from "../router";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Field } from "../ui/field";
import { readForm } from "../ui/form";
import { Notice } from "../ui/states";
import { SignInCard } from "./sign-in-card";

export function SignIn() {
  const [challenge, setChallenge] = useState("");
  const { busy, problem, run } = useAction();

  const submit = async (event: TargetedEvent<HTMLFormElement>) => {
    const values = readForm(event);
    await run(async () => {
      if (challenge) await verify(challenge, values("code")).catch(startOver);
      else setChallenge(await signIn(values("email"), values("password")));
    });
  };
  const startOver = (error: unknown) => {
    if (reasonOf(error) === "CHALLENGE_INVALID") setChallenge("");
    throw error;
  };

  return (
    <SignInCard title={challenge ? text.signIn.codeTitle : text.signIn.title} onSubmit={submit}>
      {ended.value && !problem && <Notice kind="info">{text.signIn.ended}</Notice>}
      {problem && <Notice kind="error">{problem.reason === "FIELDS_INVALID" ? text.signIn.missing : problem.message}</Notice>}
      {challenge ? <CodeField /> : <CredentialFields />}
      <button type="submit" class="primary wide" disabled={busy}>
        {challenge ? text.signIn.verify : text.signIn.submit}
      </button>
      {challenge ? (
        <button type="button" class="quiet wide" onClick={() => setChallenge("")}>
          {text.signIn.startOver}
        </button>
      ) : (
        <button type="button" class="quiet wide" onClick={() => openPage("forgot-password")}>
          {text.signIn.forgot}
        </button>
      )}
    </SignInCard>
  );
}

function CredentialFields() {
  return (
    <>
      <Field name="email" label={text.signIn.email} type="email" autoComplete="username" />
      <Field name="password" label={text.signIn.password} type="password" autoComplete="current-password" />
    </>
  );
}

function CodeField() {
  return (
    <Field name="code" label={text.signIn.code} hint={text.signIn.codeHint} autoComplete="one-time-code" />
  );
}
