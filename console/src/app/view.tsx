// The view of a route.

import { PatientForm } from "../patients/form";
import { PatientList } from "../patients/list";
import { PatientView } from "../patients/patient";
import { text } from "../strings";
import { Page } from "../ui/page";

export function View({ path }: { path: string[] }) {
  const [section = "patients", id = "", tab = "details"] = path;
  if (section === "patients") {
    if (!id) return <PatientList />;
    if (id === "new") return <PatientForm />;
    return <PatientView id={id} tab={tab} />;
  }
  return (
    <Page title={text.notFound}>
      <div class="state">
        <p>{text.notFoundHint}</p>
        <a class="button" href="#/patients">
          {text.toPatients}
        </a>
      </div>
    </Page>
  );
}
