// Renders /openapi.json with Swagger UI, in place of the list of operations in the page. Requests go to the gateway that
// serves this page.

// The access token stays in memory, or in the storage of this tab if the user chooses so.
const remember = document.getElementById("remember");
const TOKEN = "token";
const SCHEME = "bearer";

function store(token) {
  if (remember.checked && token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

remember.addEventListener("change", () => store(window.reference.authSelectors.authorized().getIn([SCHEME, "value"])));

function restoreToken() {
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return;
  remember.checked = true;
  window.reference.preauthorizeApiKey(SCHEME, token);
}

const storage = () => ({
  statePlugins: {
    auth: {
      wrapActions: {
        authorize: (authorize) => (payload) => {
          if (payload[SCHEME]) store(payload[SCHEME].value);
          return authorize(payload);
        },
        logout: (logout) => (schemes) => {
          if (schemes.includes(SCHEME)) store("");
          return logout(schemes);
        },
      },
    },
  },
});

// Corrections of Swagger UI's components for assistive technology, and shorter operations.
const corrections = ({ React }) => {
  const element = React.createElement;
  const hidden = (text) => element("span", { className: "hidden-text" }, text);
  return {
    wrapComponents: {
      // A link inside of the button that opens an operation. The address still names the opened operation.
      DeepLink: () => ({ text }) => element("span", { className: "nostyle" }, text),
      CloseIcon: (Icon) => (props) => element("span", null, element(Icon, props), hidden("Close")),
      Button: (Button) => ({ "aria-label": label, ...props }) => element(Button, props),
      TextArea: (TextArea) => (props) => element(TextArea, { "aria-label": "Request body", ...props }),
      // The examples of all errors would be ten times as long as the operation: their reasons are in the description.
      response: (Response) => (props) => /^[1-3]/.test(props.code) ? element(Response, props) : element(Failure, props),
    },
  };

  function Failure({ code, response }) {
    return element(
      "tr",
      { className: "response" },
      element("td", { className: "response-col_status" }, code),
      element("td", { className: "response-col_description", colSpan: 2 }, response.get("description")),
    );
  }
};

const response = await fetch("/openapi.json");

window.reference = SwaggerUIBundle({
  spec: await response.json(),
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null, // no requests to third parties
  plugins: [corrections, storage],
  onComplete: restoreToken,
});
