// Shows /openapi.json with Swagger UI. The calls that it sends go to the gateway that the page came from.
window.reference = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false, // a token is forgotten with the page
  tryItOutEnabled: true,
  validatorUrl: null, // nothing is sent to anybody else
});
