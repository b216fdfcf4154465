// The sign-in, with the challenge of a second factor.

import type { TargetedEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { toProblem } from "../api/problem";
import { ended, signIn, verify } from "../api/session";
import { text } from "../strings";
import { Field } from "../ui/field";
import { Notice } from "../ui/states";

export function SignIn() {
  const [challenge, setChallenge] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);

  useEffect(() => {
    document.title = `${text.signIn.title} · ${text.product}`;
    form.current?.querySelector("input")?.focus();
  }, [challenge]);

  const submit = async (event: TargetedEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    const value = (name: string) => String(values.get(name) ?? "");
    setBusy(true);
    setProblem("");
    try {
      if (challenge) await verify(challenge, value("code"));
      else setChallenge(await signIn(value("email"), value("password")));
    } catch (error) {
      const found = toProblem(error);
      if (found.reason === "CHALLENGE_INVALID") setChallenge("");
      setProblem(found.reason === "FIELDS_INVALID" ? text.signIn.missing : found.message);
    }
    setBusy(false);
  };

  return (
    <main class="sign-in">
      <form ref={form} class="card" onSubmit={submit} noValidate>
        <p class="brand">
          <img src="icon.svg" alt="" width="28" height="28" />
          {text.product}
        </p>
        <h1>{challenge ? text.signIn.codeTitle : text.signIn.title}</h1>
        {ended.value && !problem && <Notice kind="info">{text.signIn.ended}</Notice>}
        {problem && <Notice kind="error">{problem}</Notice>}
        {challenge ? <CodeField /> : <CredentialFields />}
        <button type="submit" class="primary wide" disabled={busy}>
          {challenge ? text.signIn.verify : text.signIn.submit}
        </button>
        {challenge && (
          <button type="button" class="quiet wide" onClick={() => setChallenge("")}>
            {text.signIn.startOver}
          </button>
        )}
      </form>
    </main>
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
