// Renders /openapi.json with Swagger UI. Requests go to the gateway that serves this page.
window.reference = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false, // tokens are discarded when the page closes
  tryItOutEnabled: true,
  validatorUrl: null, // no requests to third parties
});
