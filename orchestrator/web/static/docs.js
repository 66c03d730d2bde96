// Swagger UI writes markup as text. What it may write, the page's policy says: nothing that runs.
self.trustedTypes?.createPolicy("default", { createHTML: text => text });
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  // Else the page shows the document to a validator on the internet.
  validatorUrl: null,
});
