// The frame of the console: the navigation, and the view of the current route.

import { offline } from "../api/connection";
import { user } from "../api/session";
import { mailPage, route } from "../router";
import { text } from "../strings";
import { Notice } from "../ui/states";
import { Toast } from "../ui/toast";
import { MailPageView } from "./mail-pages";
import { Navigation } from "./navigation";
import { SignIn } from "./sign-in";
import { View } from "./view";

export function App() {
  return (
    <>
      {offline.value && (
        <div class="banner">
          <Notice kind="warning">
            <strong>{text.offline.title}</strong> {text.offline.hint}
          </Notice>
        </div>
      )}
      {mailPage.value ? <MailPageView {...mailPage.value} /> : user.value ? <SignedIn /> : <SignIn />}
      <Toast />
    </>
  );
}

function SignedIn() {
  const path = route.value;
  return (
    <div class="frame">
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        {text.skip}
      </button>
      <Navigation />
      <main id="main" tabIndex={-1}>
        <View key={path.slice(0, 2).join("/")} path={path} />
      </main>
    </div>
  );
}
