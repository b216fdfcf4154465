// The views of admins: users, invitations and dead letters.

import { text } from "../strings";
import { Page } from "../ui/page";
import { DeadLetters } from "./dead-letters";
import { Invitations } from "./invitations";
import { Users } from "./users";

const TABS = ["users", "invitations", "dead-letters"] as const;

export function Admin({ tab }: { tab: string }) {
  return (
    <Page title={text.nav.admin}>
      <nav class="tabs" aria-label={text.nav.admin}>
        {TABS.map((each) => (
          <a key={each} href={`#/admin/${each}`} aria-current={each === tab ? "page" : undefined}>
            {text.admin.tabs[each]}
          </a>
        ))}
      </nav>
      {tab === "invitations" ? <Invitations /> : tab === "dead-letters" ? <DeadLetters /> : <Users />}
    </Page>
  );
}
