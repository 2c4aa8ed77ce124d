//! Users and what they may do, as MLflow's `AuthServiceClient` asks for them.

crate::wire::wire! {
    /// About one user.
    pub struct UserRequest {
        /// The name.
        pub username: String,
        /// The password that is to be set.
        pub password: Option<String>,
        /// The one before it, from users who change their own.
        pub current_password: Option<String>,
        /// Whether they may do everything.
        pub is_admin: Option<bool>,
    }

    /// About what a user may do with one resource.
    pub struct PermissionRequest {
        /// The user.
        pub username: String,
        /// `experiment`, `registered_model` or `prompt`.
        pub resource_type: String,
        /// The experiment's id, or the model's name.
        pub resource_id: String,
        /// `READ`, `USE`, `EDIT`, `MANAGE`, `NO_PERMISSIONS` or `DENY`.
        pub permission: Option<String>,
    }
}
