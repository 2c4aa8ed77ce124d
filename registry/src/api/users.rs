//! `/mlflow/users/…`: what MLflow's `AuthServiceClient` asks for, as far as there are users here.
//!
//! Roles of users and grants stand behind MLflow's permissions; MLflow's own roles (`/mlflow/roles`)
//! are not served.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use mlflow_api::ErrorCode;
use mlflow_api::types::{Empty, PermissionRequest, UserRequest};
use serde_json::{Value, json};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::required;
use crate::Registry;
use crate::auth::{Principal, Role, Viewer, hash_password, verify_password};
use crate::http::Gateway;
use crate::store::{GrantRecord, Granted, UserRecord};

type Shared = Extension<Arc<Gateway>>;

/// Who asks. Without users there is none of this, as with an MLflow server without authentication.
fn asking(viewer: &Viewer) -> Result<&Arc<Principal>, ApiError> {
    viewer.principal().ok_or_else(|| {
        ApiError::new(
            ErrorCode::ResourceDoesNotExist,
            "This server has no users; `registry user add` adds the first.",
        )
    })
}

/// Who asks, if it is an admin or that user.
fn asking_for<'v>(viewer: &'v Viewer, name: &str) -> Result<&'v Arc<Principal>, ApiError> {
    let principal = asking(viewer)?;
    if principal.role == Role::Admin || principal.name == name {
        Ok(principal)
    } else {
        Err(ApiError::denied())
    }
}

fn json_of(user: &UserRecord) -> Value {
    json!({
        "id": user.user_id,
        "username": user.name,
        "is_admin": user.role == Role::Admin,
    })
}

fn password(given: Option<String>) -> Result<String, ApiError> {
    given
        .filter(|password| !password.is_empty())
        .ok_or_else(|| ApiError::missing("password"))
}

async fn hashed(password: String) -> Result<String, ApiError> {
    hash_password(password)
        .await
        .map_err(|error| ApiError::invalid(format!("Invalid password: {error}.")))
}

pub(super) async fn create(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Value> {
    asking(&viewer)?;
    required("username", &request.username)?;
    let password = password(request.password)?;
    let role = if request.is_admin == Some(true) {
        Role::Admin
    } else {
        // What MLflow's users may do by default.
        Role::Reader
    };
    let hash = hashed(password).await?;
    let user = registry
        .store()
        .create_user(&request.username, &hash, role)
        .await?;
    gateway.auth().refresh().await?;
    Ok(Json(json!({ "user": json_of(&user) })))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Value> {
    required("username", &request.username)?;
    asking_for(&viewer, &request.username)?;
    let user = registry.store().get_user(&request.username).await?;
    Ok(Json(json!({ "user": json_of(&user) })))
}

pub(super) async fn current(viewer: Viewer) -> Answer<Value> {
    let principal = asking(&viewer)?;
    Ok(Json(json!({
        "user": {
            "id": principal.user_id,
            "username": principal.name,
            "is_admin": principal.role == Role::Admin,
        },
        "is_basic_auth": true,
    })))
}

pub(super) async fn list(State(registry): State<Registry>, viewer: Viewer) -> Answer<Value> {
    asking(&viewer)?;
    let users = registry.store().list_users().await?;
    let users = users.iter().map(|user| {
        let mut user = json_of(user);
        user["roles"] = json!([]);
        user
    });
    Ok(Json(json!({ "users": users.collect::<Vec<_>>() })))
}

pub(super) async fn update_password(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Empty> {
    required("username", &request.username)?;
    let password = password(request.password)?;
    let principal = asking_for(&viewer, &request.username)?;
    if principal.name == request.username {
        let current = request
            .current_password
            .filter(|password| !password.is_empty())
            .ok_or_else(|| {
                ApiError::invalid("Current password is required when changing your own password.")
            })?;
        if current == password {
            return Err(ApiError::invalid(
                "New password must differ from the current password.",
            ));
        }
        let user = registry.store().get_user(&request.username).await?;
        if !verify_password(current, user.password_hash).await {
            return Err(ApiError::invalid("Current password does not match."));
        }
    }
    let hash = hashed(password).await?;
    registry
        .store()
        .set_user_password(&request.username, &hash)
        .await?;
    gateway.auth().refresh().await?;
    Ok(Json(Empty {}))
}

pub(super) async fn update_admin(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Empty> {
    asking(&viewer)?;
    required("username", &request.username)?;
    let flag = request
        .is_admin
        .ok_or_else(|| ApiError::missing("is_admin"))?;
    let user = registry.store().get_user(&request.username).await?;
    let role = match (flag, user.role) {
        (true, _) => Role::Admin,
        // One who was an admin may still do what is not an admin's.
        (false, Role::Admin) => Role::Writer,
        (false, role) => role,
    };
    registry
        .store()
        .set_user_role(&request.username, role)
        .await?;
    gateway.auth().refresh().await?;
    Ok(Json(Empty {}))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Empty> {
    required("username", &request.username)?;
    if asking(&viewer)?.name == request.username {
        return Err(ApiError::new(
            ErrorCode::BadRequest,
            "Users cannot delete their own account. Ask another admin to delete this user instead.",
        ));
    }
    registry.store().delete_user(&request.username).await?;
    gateway.auth().refresh().await?;
    Ok(Json(Empty {}))
}

pub(super) async fn current_permissions(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(Empty {}): Rpc<Empty>,
) -> Answer<Value> {
    let principal = asking(&viewer)?;
    permissions_of(&registry, &principal.name).await
}

pub(super) async fn permissions(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<UserRequest>,
) -> Answer<Value> {
    required("username", &request.username)?;
    asking_for(&viewer, &request.username)?;
    permissions_of(&registry, &request.username).await
}

async fn permissions_of(registry: &Registry, name: &str) -> Answer<Value> {
    let user = registry.store().get_user(name).await?;
    let row = |kind: &str, id: &str, role: Role| {
        json!({
            "role_id": user.user_id,
            "role_name": format!("__user_{}__", user.user_id),
            "workspace": "default",
            "resource_type": kind,
            "resource_pattern": id,
            "permission": role.as_mlflow(),
        })
    };
    let mut rows = vec![
        row("experiment", "*", user.role),
        row("registered_model", "*", user.role),
    ];
    for GrantRecord { on, role, .. } in registry.store().list_grants(Some(name)).await? {
        rows.push(match on {
            Granted::Experiment(id) => row("experiment", &id, role),
            Granted::Model(name) => row("registered_model", &name, role),
        });
    }
    Ok(Json(json!({
        "is_admin": user.role == Role::Admin,
        "permissions": rows,
    })))
}

pub(super) async fn permission(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<PermissionRequest>,
) -> Answer<Value> {
    required("username", &request.username)?;
    asking_for(&viewer, &request.username)?;
    let user = registry.store().get_user(&request.username).await?;
    let grants = registry.store().list_grants(Some(&user.name)).await?;
    let role = match (user.role, request.resource_id.as_str()) {
        (Role::Admin, _) => Role::Admin,
        (role, "*") => role,
        (role, _) => {
            let on = granted(&request)?;
            grants
                .iter()
                .find(|grant| grant.on == on)
                .map_or(role, |grant| grant.role)
        }
    };
    Ok(Json(json!({
        // What MLflow calls `USE`: more than reading.
        "allowed": role >= Role::Writer,
        "permission": role.as_mlflow(),
    })))
}

fn granted(request: &PermissionRequest) -> Result<Granted, ApiError> {
    required("resource_type", &request.resource_type)?;
    required("resource_id", &request.resource_id)?;
    match request.resource_type.as_str() {
        "experiment" => Ok(Granted::Experiment(request.resource_id.clone())),
        // Prompts are registered models.
        "registered_model" | "prompt" => Ok(Granted::Model(request.resource_id.clone())),
        other => Err(ApiError::invalid(format!(
            "Invalid resource type '{other}'. Valid resource types are: ('experiment', 'prompt', \
             'registered_model')"
        ))),
    }
}

pub(super) async fn grant(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<PermissionRequest>,
) -> Answer<Empty> {
    asking(&viewer)?;
    required("username", &request.username)?;
    let permission = request.permission.clone().unwrap_or_default();
    let role = Role::from_mlflow(&permission).ok_or_else(|| {
        ApiError::invalid(format!(
            "Invalid permission '{permission}'. Valid permissions are: ('READ', 'USE', 'EDIT', 'MANAGE', \
             'NO_PERMISSIONS', 'DENY')"
        ))
    })?;
    let on = granted(&request)?;
    if request.resource_id == "*" {
        return Err(ApiError::invalid(
            "A grant is about one resource; what holds for all is the user's role.",
        ));
    }
    registry.store().grant(&request.username, &on, role).await?;
    gateway.auth().refresh().await?;
    Ok(Json(Empty {}))
}

pub(super) async fn revoke(
    State(registry): State<Registry>,
    Extension(gateway): Shared,
    viewer: Viewer,
    Rpc(request): Rpc<PermissionRequest>,
) -> Answer<Empty> {
    asking(&viewer)?;
    required("username", &request.username)?;
    let on = granted(&request)?;
    if !registry
        .store()
        .revoke_grant(&request.username, &on)
        .await?
    {
        return Err(ApiError::new(
            ErrorCode::ResourceDoesNotExist,
            format!("User {} has no grant on this resource.", request.username),
        ));
    }
    gateway.auth().refresh().await?;
    Ok(Json(Empty {}))
}
