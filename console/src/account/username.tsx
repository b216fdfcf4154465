// The name of the account in a form with a password, for password managers.

import { user } from "../api/session";

export function Username() {
  return <input type="text" autoComplete="username" value={user.value?.email ?? ""} readOnly hidden />;
}
