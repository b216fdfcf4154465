// The change of the user's own password.

import type { TargetedEvent } from "preact";
import { auths } from "../api/clients";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Field } from "../ui/field";
import { readForm } from "../ui/form";
import { ProblemNotice } from "../ui/states";
import { Username } from "./username";

export function Password() {
  const { busy, problem, run } = useAction();
  const submit = async (event: TargetedEvent<HTMLFormElement>) => {
    const form = event.currentTarget;
    const values = readForm(event);
    const request = { currentPassword: values("current_password"), newPassword: values("new_password") };
    if (await run(() => auths.changePassword(request), text.password.changed)) form.reset();
  };
  const errors = problem?.fields ?? {};
  const isCurrentWrong = problem?.reason === "INVALID_CREDENTIALS";
  return (
    <section class="section" aria-labelledby="password">
      <header>
        <h2 id="password">{text.password.title}</h2>
      </header>
      <form class="card form" onSubmit={submit} noValidate>
        <Username />
        <div class="form-grid">
          <Field
            name="current_password"
            type="password"
            label={text.password.current}
            autoComplete="current-password"
            error={isCurrentWrong ? text.password.wrong : errors["current_password"]}
          />
          <Field
            name="new_password"
            type="password"
            label={text.password.next}
            hint={text.password.hint}
            autoComplete="new-password"
            error={errors["new_password"]}
          />
        </div>
        {problem && !isCurrentWrong && Object.keys(errors).length === 0 && (
          <ProblemNotice title={text.password.failed} problem={problem} />
        )}
        <div class="actions">
          <button type="submit" class="primary" disabled={busy}>
            {text.password.submit}
          </button>
        </div>
      </form>
    </section>
  );
}
