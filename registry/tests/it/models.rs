use mlflow_api::ErrorCode;
use mlflow_api::types::KeyValue;

use crate::harness::serve;

#[tokio::test]
async fn a_model_is_registered_and_promoted() {
    let server = serve().await;
    let client = &server.client;
    let run = server.run().await;
    let id = run.info.run_id;
    let uri = run.info.artifact_uri.unwrap();
    client
        .upload_artifact(&uri, "model/MLmodel", "flavors: {}\n".to_owned())
        .await
        .unwrap();
    client.ensure_registered_model("forest").await.unwrap();
    client.ensure_registered_model("forest").await.unwrap();
    let source = format!("{uri}/model");
    for expected in ["1", "2"] {
        let tags = vec![KeyValue::new("a", "b")];
        let version = client
            .create_model_version("forest", &source, Some(&id), tags, Some("d"))
            .await
            .unwrap();
        assert_eq!(version.version, expected);
    }
    client.set_alias("forest", "champion", "1").await.unwrap();
    client.set_alias("forest", "champion", "2").await.unwrap();
    client
        .set_model_version_tag("forest", "2", "c", "d")
        .await
        .unwrap();
    let champion = client.get_by_alias("forest", "champion").await.unwrap();
    assert_eq!(
        (
            champion.version.as_str(),
            champion.aliases.len(),
            champion.tags.len()
        ),
        ("2", 1, 2)
    );
    assert_eq!(
        client.get_download_uri("forest", "2").await.unwrap(),
        source
    );
    assert_eq!(
        client
            .search_model_versions("name = 'forest'")
            .await
            .unwrap()
            .len(),
        2
    );
    let model = client.get_registered_model("forest").await.unwrap();
    assert_eq!(model.latest_versions.len(), 1);
    assert_eq!(model.aliases[0].alias, "champion");

    let missing = client.get_by_alias("forest", "nobody").await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::InvalidParameterValue));
    let missing = client.get_model_version("forest", "3").await.unwrap_err();
    assert!(missing.is_not_found());
    let foreign = client
        .create_model_version("forest", "mlflow-artifacts:/0/x", Some(&id), vec![], None)
        .await;
    assert_eq!(
        foreign.unwrap_err().code(),
        Some(ErrorCode::InvalidParameterValue)
    );
}
