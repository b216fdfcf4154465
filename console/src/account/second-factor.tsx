// The user's own second factor: its set-up with an authenticator app, and its removal.

import type { ComponentChildren, TargetedEvent } from "preact";
import { useState } from "preact/hooks";
import { auths } from "../api/clients";
import { user } from "../api/session";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Identifier } from "../ui/content";
import { Field } from "../ui/field";
import { readForm, type FormValues } from "../ui/form";
import { QrCode } from "../ui/qr-code";
import { Notice, ProblemNotice } from "../ui/states";
import { Username } from "./username";

interface Enrollment {
  secret: string;
  uri: string;
}

export function SecondFactor() {
  const [enrollment, setEnrollment] = useState<Enrollment>();
  const [recoveryCodes, setRecoveryCodes] = useState<string[]>([]);
  const isOn = user.value?.secondFactor ?? false;
  const confirmed = (codes: string[]) => {
    setRecoveryCodes(codes);
    setEnrollment(undefined);
  };
  return (
    <section class="section" aria-labelledby="second-factor">
      <header>
        <h2 id="second-factor">{text.account.secondFactor}</h2>
        <Badge kind={isOn ? "good" : "neutral"}>{isOn ? text.account.on : text.account.off}</Badge>
      </header>
      {recoveryCodes.length > 0 && <RecoveryCodes codes={recoveryCodes} />}
      {isOn ? (
        <Remove onRemoved={() => setRecoveryCodes([])} />
      ) : enrollment ? (
        <Confirm enrollment={enrollment} onConfirmed={confirmed} />
      ) : (
        <Enroll onEnrolled={setEnrollment} />
      )}
    </section>
  );
}

function RecoveryCodes({ codes }: { codes: string[] }) {
  return (
    <Notice kind="info">
      <p>{text.secondFactor.recoveryHint}</p>
      <ul class="codes">
        {codes.map((code) => (
          <li key={code}>
            <code>{code}</code>
          </li>
        ))}
      </ul>
    </Notice>
  );
}

function Enroll({ onEnrolled }: { onEnrolled: (enrollment: Enrollment) => void }) {
  return (
    <Step
      hint={text.secondFactor.enrollHint}
      submit={text.secondFactor.enroll}
      call={async (values) => onEnrolled(await auths.enrollSecondFactor({ currentPassword: values("password") }))}
    >
      <Field name="password" type="password" label={text.password.current} autoComplete="current-password" />
    </Step>
  );
}

function Confirm({ enrollment, onConfirmed }: { enrollment: Enrollment; onConfirmed: (codes: string[]) => void }) {
  const confirm = async (values: FormValues) => {
    const { recoveryCodes } = await auths.confirmSecondFactor({ code: values("code") });
    user.value = await auths.getCurrentUser({});
    onConfirmed(recoveryCodes);
  };
  return (
    <Step hint={text.secondFactor.confirmHint} submit={text.secondFactor.confirm} call={confirm}>
      <div class="field">
        <QrCode value={enrollment.uri} label={text.secondFactor.qrCode} />
        <a href={enrollment.uri}>{text.secondFactor.open}</a>
        <Identifier value={enrollment.secret} />
      </div>
      <Field name="code" label={text.signIn.code} autoComplete="one-time-code" />
    </Step>
  );
}

function Remove({ onRemoved }: { onRemoved: () => void }) {
  const remove = async (values: FormValues) => {
    await auths.removeSecondFactor({ currentPassword: values("password"), code: values("code") });
    user.value = await auths.getCurrentUser({});
    onRemoved();
  };
  return (
    <Step hint={text.secondFactor.removeHint} submit={text.secondFactor.remove} call={remove}>
      <Field name="password" type="password" label={text.password.current} autoComplete="current-password" />
      <Field name="code" label={text.signIn.code} autoComplete="one-time-code" />
    </Step>
  );
}

interface StepProperties {
  hint: string;
  submit: string;
  call: (values: FormValues) => Promise<void>;
  children: ComponentChildren;
}

function Step({ hint, submit, call, children }: StepProperties) {
  const { busy, problem, run } = useAction();
  const send = (event: TargetedEvent<HTMLFormElement>) => {
    const values = readForm(event);
    void run(() => call(values));
  };
  return (
    <form class="card form" onSubmit={send} noValidate>
      <Username />
      <p class="muted">{hint}</p>
      {problem && <ProblemNotice title={text.secondFactor.failed} problem={problem} />}
      <div class="form-grid">{children}</div>
      <div class="actions">
        <button type="submit" disabled={busy}>
          {submit}
        </button>
      </div>
    </form>
  );
}
