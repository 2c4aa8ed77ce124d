//! Webhooks: what is sent to whom when the registry changes.

crate::wire::wire_enum! {
    /// Whether a webhook is used.
    pub enum WebhookStatus {
        /// It is.
        Active = 1, "ACTIVE";
        /// It is not.
        Disabled = 2, "DISABLED";
    }
}

crate::wire::wire_enum! {
    /// What changes.
    pub enum WebhookEntity {
        /// Nobody said.
        Unspecified = 0, "ENTITY_UNSPECIFIED";
        /// A registered model.
        RegisteredModel = 1, "REGISTERED_MODEL";
        /// A version of one.
        ModelVersion = 2, "MODEL_VERSION";
        /// A version's tag.
        ModelVersionTag = 3, "MODEL_VERSION_TAG";
        /// An alias of a version.
        ModelVersionAlias = 4, "MODEL_VERSION_ALIAS";
        /// A prompt.
        Prompt = 5, "PROMPT";
        /// A version of one.
        PromptVersion = 6, "PROMPT_VERSION";
        /// A prompt's tag.
        PromptTag = 7, "PROMPT_TAG";
        /// A prompt version's tag.
        PromptVersionTag = 8, "PROMPT_VERSION_TAG";
        /// An alias of a prompt version.
        PromptAlias = 9, "PROMPT_ALIAS";
        /// A budget of a gateway; nothing here ever says so.
        BudgetPolicy = 10, "BUDGET_POLICY";
    }
}

crate::wire::wire_enum! {
    /// How it changes.
    pub enum WebhookAction {
        /// Nobody said.
        Unspecified = 0, "ACTION_UNSPECIFIED";
        /// It is created.
        Created = 1, "CREATED";
        /// It is updated.
        Updated = 2, "UPDATED";
        /// It is deleted.
        Deleted = 3, "DELETED";
        /// It is set.
        Set = 4, "SET";
        /// It is exceeded.
        Exceeded = 5, "EXCEEDED";
    }
}

crate::wire::wire! {
    /// A webhook; its secret is never shown.
    pub struct Webhook {
        /// Its id.
        pub webhook_id: String,
        /// Its name.
        pub name: String,
        /// What it is for.
        pub description: Option<String>,
        /// Where it sends to.
        pub url: String,
        /// What it sends.
        pub events: Vec<WebhookEvent>,
        /// Whether it is used.
        pub status: Option<WebhookStatus>,
        /// When it was created, ms since the epoch.
        pub creation_timestamp: i64,
        /// When it last changed, ms since the epoch.
        pub last_updated_timestamp: i64,
    }

    /// A kind of change.
    pub struct WebhookEvent {
        /// What changes.
        pub entity: Option<WebhookEntity>,
        /// How.
        pub action: Option<WebhookAction>,
    }

    /// `webhooks`, POST, and `webhooks/ID`, PATCH.
    pub struct WriteWebhook {
        /// Its name.
        pub name: Option<String>,
        /// What it is for.
        pub description: Option<String>,
        /// Where it sends to.
        pub url: Option<String>,
        /// What it sends.
        pub events: Vec<WebhookEvent>,
        /// What deliveries are signed with.
        pub secret: Option<String>,
        /// Whether it is used.
        pub status: Option<WebhookStatus>,
    }

    /// The answer to requests for one webhook.
    pub struct WebhookResponse {
        /// The webhook.
        pub webhook: Webhook,
    }

    /// `webhooks`, GET.
    pub struct ListWebhooks {
        /// The page's size; 100 when absent.
        pub max_results: Option<i64>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`ListWebhooks`].
    pub struct ListWebhooksResponse {
        /// The page.
        pub webhooks: Vec<Webhook>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `webhooks/ID/test`.
    pub struct TestWebhook {
        /// The kind of change to try; the webhook's first when absent.
        pub event: Option<WebhookEvent>,
    }

    /// The answer to [`TestWebhook`].
    pub struct TestWebhookResponse {
        /// What came of it.
        pub result: WebhookTestResult,
    }

    /// What came of a try.
    pub struct WebhookTestResult {
        /// Whether the receiver took it.
        pub success: bool,
        /// The receiver's HTTP status.
        pub response_status: Option<i64>,
        /// The receiver's answer.
        pub response_body: Option<String>,
        /// Why there is no answer.
        pub error_message: Option<String>,
    }
}
