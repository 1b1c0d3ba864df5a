//! An MCP server: a tool that takes more scope than the others, and calls that end when their token is revoked.
//!
//! `cargo run --features mcp --example mcp`, then connect a client to <http://127.0.0.1:3001/mcp> with the token
//! `reader` or `writer`.

use std::time::Duration;

use axum::{Router, extract::Request, http::request::Parts, middleware, middleware::Next, response::Response};
use rmcp::{
    RoleServer, ServerHandler,
    handler::server::tool::Extension,
    model::ProgressNotificationParam,
    service::RequestContext,
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{StreamableHttpService, session::local::LocalSessionManager},
};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, RequireScopeLayer, Scope, ScopeSet, StreamReauthLayer, Tokens,
    json_rpc::{Call, JsonRpcLayer},
    resource_metadata::{ResourceMetadata, ResourceMetadataLayer},
    revoke::Revocations,
    session::SessionBindingLayer,
    verify::Token,
};

const READ: Scope = Scope::from_static("files:read");
const WRITE: Scope = Scope::from_static("files:write");

#[derive(Clone)]
struct Files(Revocations);

#[tool_router]
impl Files {
    #[tool(description = "Reports each change of a file, for as long as you may")]
    async fn watch(&self, context: RequestContext<RoleServer>) -> String {
        let Some(token) = context.meta.get_progress_token() else { return "nobody listens".into() };
        let mut changes = 0.0;
        while context.peer.notify_progress(ProgressNotificationParam::new(token.clone(), changes)).await.is_ok() {
            changes += 1.0;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        "nobody listens any more".into()
    }

    #[tool(description = "Deletes a file. Takes the scope files:write")]
    async fn delete(&self) -> String {
        "deleted".into()
    }

    #[tool(description = "Revokes your token, wherever it is in use")]
    async fn sign_out(&self, Extension(parts): Extension<Parts>) -> String {
        let identity = parts.extensions.get().map(Access::identity);
        identity.and_then(|caller| caller.credential_id().map(|id| self.0.revoke(id)));
        "signed out".into()
    }
}

#[tool_handler]
impl ServerHandler for Files {}

async fn step_up(access: Access, request: Request, next: Next) -> Result<Response, Denied> {
    if request.extensions().get().is_some_and(|call: &Call| call.name() == Some("delete")) {
        access.require(WRITE)?;
    }
    Ok(next.run(request).await)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metadata = ResourceMetadata::new("http://127.0.0.1:3001/mcp")?.with_scopes_supported([READ, WRITE]);
    let metadata = ResourceMetadataLayer::new([metadata.with_authorization_servers(["https://login.example.com"])?]);
    let revocations = Revocations::new();
    let tokens = Tokens::new([
        Token::new("reading", "reader").with_scopes(READ),
        Token::new("writing", "writer").with_scopes(ScopeSet::from([READ, WRITE])),
    ])?;

    let files = Files(revocations.clone());
    let sessions = LocalSessionManager::default().into();
    let service = StreamableHttpService::new(move || Ok(files.clone()), sessions, Default::default());
    let auth = BearerAuthLayer::new(tokens).with_challenge(metadata.challenge().with_scope([READ]));
    let app = Router::new()
        .route_service("/mcp", service)
        .layer(middleware::from_fn(step_up))
        .layer(JsonRpcLayer::new())
        .layer(SessionBindingLayer::new())
        .layer(StreamReauthLayer::new())
        .layer(RequireScopeLayer::new(READ))
        .layer(auth.with_revocations(&revocations))
        .layer(metadata);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    println!("listening on http://{}/mcp", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
