// Actions whose result or problem is shown.

import { useState } from "preact/hooks";
import { toProblem, type Problem } from "../api/problem";
import { announce } from "./toast";

export interface Action {
  busy: boolean;
  problem: Problem | undefined;
  /** Runs a call and announces a message after it. Returns whether it succeeded. */
  run: (call: () => Promise<unknown>, message?: string) => Promise<boolean>;
}

export function useAction(): Action {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const run = async (call: () => Promise<unknown>, message = "") => {
    setBusy(true);
    setProblem(undefined);
    try {
      await call();
      if (message) announce(message);
      return true;
    } catch (error) {
      setProblem(toProblem(error));
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, run };
}
