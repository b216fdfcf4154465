// The main navigation: at the side of wide windows, at the bottom of phones.

import { isAdmin, signOut, user } from "../api/session";
import { route } from "../router";
import { text } from "../strings";
import { Text } from "../ui/content";
import { Icon } from "../ui/icons";
import { SECTIONS } from "./sections";

export function Navigation() {
  const current = route.value[0] ?? "patients";
  const sections = SECTIONS.filter((section) => !section.admin || isAdmin.value);
  return (
    <div class="sidebar">
      <a class="brand" href="#/patients">
        <img src="icon.svg" alt="" width="24" height="24" />
        {text.product}
      </a>
      <nav aria-label={text.nav.label}>
        {sections.map(({ name, icon }) => (
          <a key={name} href={`#/${name}`} aria-current={current === name ? "page" : undefined}>
            <Icon name={icon} />
            <span>{text.nav[name]}</span>
          </a>
        ))}
      </nav>
      <div class="who">
        <span class="muted small">
          <Text value={user.value?.email ?? ""} />
        </span>
        <button type="button" class="quiet" onClick={signOut}>
          <Icon name="signOut" />
          {text.signIn.signOut}
        </button>
      </div>
    </div>
  );
}
