// The entry point of the console.

import { render } from "preact";
import { App } from "./app/app";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/controls.css";
import "./styles/content.css";
import "./styles/record.css";
import "./styles/views.css";

render(<App />, document.getElementById("app")!);
