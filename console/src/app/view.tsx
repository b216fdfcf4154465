// The view of a route.

import { Account } from "../account/account";
import { Admin } from "../admin/admin";
import { isAdmin } from "../api/session";
import { Live } from "../live/live";
import { PatientForm } from "../patients/form";
import { PatientList } from "../patients/list";
import { PatientView } from "../patients/patient";
import { Statistics } from "../statistics/statistics";
import { text } from "../strings";
import { Page } from "../ui/page";

export function View({ path }: { path: string[] }) {
  const [section = "patients", id = "", tab = "details"] = path;
  if (section === "patients") {
    if (!id) return <PatientList />;
    if (id === "new") return <PatientForm />;
    return <PatientView id={id} tab={tab} />;
  }
  if (section === "live") return <Live />;
  if (section === "statistics") return <Statistics />;
  if (section === "account") return <Account />;
  if (section === "admin" && isAdmin.value) return <Admin tab={id || "users"} />;
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
