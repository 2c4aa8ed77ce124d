//! Registered models and versions.

use super::transport::Repeat;
use super::{Client, ClientError};
use crate::error::ErrorCode;
use crate::types::*;

impl Client {
    /// Creates a registered model where it is missing.
    ///
    /// # Errors
    /// When the server is not reachable or refuses the name.
    pub async fn ensure_registered_model(&self, name: &str) -> Result<(), ClientError> {
        match self.create_registered_model(name, None, Vec::new()).await {
            Err(error) if error.code() == Some(ErrorCode::ResourceAlreadyExists) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Creates a registered model.
    ///
    /// # Errors
    /// When the server is not reachable, refuses the name or has one of that name.
    pub async fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: Vec<KeyValue>,
    ) -> Result<RegisteredModel, ClientError> {
        let request = CreateRegisteredModel {
            name: name.to_owned(),
            tags,
            description: description.map(str::to_owned),
        };
        let answer: RegisteredModelResponse = self
            .call(
                reqwest::Method::POST,
                "registered-models/create",
                &request,
                Repeat::Unsafe,
            )
            .await?;
        Ok(answer.registered_model)
    }

    /// The registered model of that name.
    ///
    /// # Errors
    /// When the server is not reachable or there is none.
    pub async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError> {
        let request = RegisteredModelRef {
            name: name.to_owned(),
        };
        let answer: RegisteredModelResponse = self.get("registered-models/get", &request).await?;
        Ok(answer.registered_model)
    }

    /// Creates the next version of a model from the files at `source` (an artifact URI).
    ///
    /// # Errors
    /// When the server is not reachable, refuses the source or has no such model.
    pub async fn create_model_version(
        &self,
        name: &str,
        source: &str,
        run_id: Option<&str>,
        tags: Vec<KeyValue>,
        description: Option<&str>,
    ) -> Result<ModelVersion, ClientError> {
        let request = CreateModelVersion {
            name: name.to_owned(),
            source: source.to_owned(),
            run_id: run_id.map(str::to_owned),
            tags,
            description: description.map(str::to_owned),
            ..Default::default()
        };
        let answer: ModelVersionResponse = self
            .call(
                reqwest::Method::POST,
                "model-versions/create",
                &request,
                Repeat::Unsafe,
            )
            .await?;
        Ok(answer.model_version)
    }

    /// A version of a model.
    ///
    /// # Errors
    /// When the server is not reachable or there is none.
    pub async fn get_model_version(
        &self,
        name: &str,
        version: &str,
    ) -> Result<ModelVersion, ClientError> {
        let request = ModelVersionRef {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let answer: ModelVersionResponse = self.get("model-versions/get", &request).await?;
        Ok(answer.model_version)
    }

    /// All versions that a filter finds, page by page, the newest first.
    ///
    /// # Errors
    /// When the server is not reachable or refuses the filter.
    pub async fn search_model_versions(
        &self,
        filter: &str,
    ) -> Result<Vec<ModelVersion>, ClientError> {
        let mut request = SearchModelVersions {
            filter: (!filter.is_empty()).then(|| filter.to_owned()),
            max_results: Some(10_000),
            ..Default::default()
        };
        let mut versions = Vec::new();
        loop {
            let page: SearchModelVersionsResponse =
                self.get("model-versions/search", &request).await?;
            versions.extend(page.model_versions);
            request.page_token = page.next_page_token.filter(|token| !token.is_empty());
            if request.page_token.is_none() {
                return Ok(versions);
            }
        }
    }

    /// Lets an alias name a version; it is moved where it exists.
    ///
    /// # Errors
    /// When the server is not reachable, refuses the alias or has no such version.
    pub async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: &str,
    ) -> Result<(), ClientError> {
        let request = SetAlias {
            name: name.to_owned(),
            alias: alias.to_owned(),
            version: version.to_owned(),
            reason: None,
        };
        let _: Empty = self.post("registered-models/alias", &request).await?;
        Ok(())
    }

    /// The version that an alias names.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such alias.
    pub async fn get_by_alias(&self, name: &str, alias: &str) -> Result<ModelVersion, ClientError> {
        let request = AliasRef {
            name: name.to_owned(),
            alias: alias.to_owned(),
            reason: None,
        };
        let answer: ModelVersionResponse = self.get("registered-models/alias", &request).await?;
        Ok(answer.model_version)
    }

    /// The version that an alias names; `None` where there is no such model or alias.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn find_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<Option<ModelVersion>, ClientError> {
        match self.get_by_alias(name, alias).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.is_not_found() => Ok(None),
            // What MLflow says of an alias that is not there.
            Err(ClientError::Refused {
                error_code,
                message,
                ..
            }) if error_code == ErrorCode::InvalidParameterValue.as_str()
                && message.ends_with("not found.") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets a tag of a version.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such version.
    pub async fn set_model_version_tag(
        &self,
        name: &str,
        version: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let request = SetModelVersionTag {
            name: name.to_owned(),
            version: version.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let _: Empty = self.post("model-versions/set-tag", &request).await?;
        Ok(())
    }

    /// The artifact URI of a version's files.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such version.
    pub async fn get_download_uri(&self, name: &str, version: &str) -> Result<String, ClientError> {
        let request = ModelVersionRef {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let answer: DownloadUriResponse = self
            .get("model-versions/get-download-uri", &request)
            .await?;
        answer
            .artifact_uri
            .ok_or_else(|| self.unreadable(&"no artifact uri"))
    }
}
