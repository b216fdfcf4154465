// The history of a patient as a timeline, with the difference that each change made.

import { patients } from "../api/clients";
import { usePages } from "../api/hooks";
import { user } from "../api/session";
import { RevisionType, type Patient, type Revision } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge, Text, Time } from "../ui/content";
import { PageList } from "../ui/page-list";
import { Empty } from "../ui/states";
import { KINDS } from "./kinds";
import { changedFields, display, EMPTY, toValues, type FieldName, type Values } from "./fields";

export function History({ patient }: { patient: Patient }) {
  const pages = usePages(
    (pageToken, signal) => patients.listPatientRevisions({ id: patient.id, pageToken }, { signal }),
    (page) => page.revisions,
    [patient.id, patient.etag],
  );
  const empty = <Empty title={text.history.emptyTitle} hint={text.history.emptyHint} />;
  return (
    <PageList pages={pages} failed={text.history.failed} empty={empty}>
      {(revisions) => (
        <ol class="timeline" reversed>
          {revisions.map((revision, index) => (
            <Change key={String(revision.revision)} revision={revision} previous={revisions[index + 1]} />
          ))}
        </ol>
      )}
    </PageList>
  );
}

function Change({ revision, previous }: { revision: Revision; previous: Revision | undefined }) {
  return (
    <li>
      <div class="event">
        <Badge kind={KINDS[revision.type]}>{text.history.types[revision.type]!}</Badge>
        <Time at={revision.occurTime} />
        <span class="muted">
          {text.history.by} <Actor id={revision.actorId} />
        </span>
        <span class="muted small">{text.history.revision(revision.revision)}</span>
      </div>
      <Differences revision={revision} previous={previous} />
    </li>
  );
}

export function Actor({ id }: { id: string }) {
  if (!id) return <>{text.history.unknownActor}</>;
  if (id === user.value?.id) return <>{text.you}</>;
  return <code title={id}>{id.slice(0, 8)}</code>;
}

function Differences({ revision, previous }: { revision: Revision; previous: Revision | undefined }) {
  if (!revision.patient) return null;
  const after = toValues(revision.patient);
  const isCreated = revision.type === RevisionType.CREATED;
  if (!isCreated && !previous?.patient) {
    return revision.type === RevisionType.UPDATED ? <p class="muted">{text.history.moreNeeded}</p> : null;
  }
  const before = isCreated || !previous?.patient ? EMPTY : toValues(previous.patient);
  const names = changedFields(before, after);
  if (names.length === 0) {
    return revision.type === RevisionType.UPDATED ? <p class="muted">{text.history.noChanges}</p> : null;
  }
  return (
    <dl class="differences">
      {names.map((name) => (
        <div key={name}>
          <dt>{text.fields[name]}</dt>
          <dd>
            {!isCreated && <Side tag="del" label={text.history.before} name={name} values={before} />}
            <Side tag={isCreated ? "span" : "ins"} label={text.history.after} name={name} values={after} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

interface SideProperties {
  tag: "del" | "ins" | "span";
  label: string;
  name: FieldName;
  values: Values;
}

function Side({ tag: Tag, label, name, values }: SideProperties) {
  const value = display(name, values);
  return (
    <Tag>
      {Tag !== "span" && <span class="hidden">{label} </span>}
      {value ? <Text value={value} /> : <i>{text.history.empty}</i>}
    </Tag>
  );
}
