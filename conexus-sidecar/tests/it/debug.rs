//! The debug services on the telemetry socket.

use std::time::Duration;

use conexus_proto::facts::{Fact, SkipReason};
use conexus_proto::v1::debug_client::DebugClient;
use conexus_proto::v1::{self, record, tail_event};
use conexus_sidecar::config::Options;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::core::{Core, channel, running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_shows_records_and_moving_measures_as_they_come() {
    let (_folder, options, sidecar) = running().await;
    let mut client = DebugClient::new(channel(&options.socket).await);
    let mut everything = client.tail(v1::TailRequest::default()).await.unwrap().into_inner();
    let only = v1::TailRequest { kinds: vec!["measure".into()], contains: "skipped".into() };
    let mut skipped = client.tail(only).await.unwrap().into_inner();
    let wrong = client.tail(v1::TailRequest { kinds: vec!["x".into()], contains: String::new() }).await.unwrap_err();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument);

    let mut core = Core::new(77);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    let log = record::Record::Log(v1::Log { message: "hello".into(), ..v1::Log::default() });
    core.report(&mut stream, vec![log]).await;

    let event = tokio::time::timeout(Duration::from_secs(5), everything.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.boot_epoch, 77);
    assert!(matches!(event.event, Some(tail_event::Event::Record(_))), "{event:?}");
    let event = tokio::time::timeout(Duration::from_secs(5), skipped.message()).await.unwrap().unwrap().unwrap();
    let Some(tail_event::Event::Measure(measure)) = event.event else { panic!("a measure was expected") };
    assert_eq!(
        (measure.metric.as_str(), measure.value, measure.change),
        ("conexus_indexer_files_skipped_total", 1.0, 1.0)
    );
    assert_eq!(measure.labels, [v1::Label { name: "reason".into(), value: "empty".into() }]);

    sidecar.stop().await;
    while let Ok(Some(_)) = everything.message().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_health_and_both_reflections_answer_on_the_same_socket() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(5);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.report(&mut stream, vec![]).await;

    let mut client = DebugClient::new(channel(&options.socket).await);
    let reply = client.snapshot(v1::SnapshotRequest {}).await.unwrap().into_inner();
    assert_eq!((reply.cores.len(), reply.cores[0].boot_epoch, reply.cores[0].connected), (1, 5, true));
    assert!(reply.series.len() > 500 && reply.exporters.len() == 3);

    let mut health = HealthClient::new(channel(&options.socket).await);
    for service in ["", "conexus.telemetry.v1.Ingest", "conexus.telemetry.v1.Debug"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    for services in [services_v1(&options).await, services_v1alpha(&options).await] {
        for service in ["conexus.telemetry.v1.Ingest", "conexus.telemetry.v1.Debug", "grpc.health.v1.Health"] {
            assert!(services.iter().any(|found| found == service), "{service} is not among {services:?}");
        }
    }
    sidecar.stop().await;
}

macro_rules! services {
    ($name:ident, $version:ident) => {
        async fn $name(options: &Options) -> Vec<String> {
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let request = tonic_reflection::pb::$version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(channel(&options.socket).await);
            let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
            let answer = answers.into_inner().message().await.unwrap().unwrap();
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
                other => panic!("a list was expected, got {other:?}"),
            }
        }
    };
}

services!(services_v1, v1);
services!(services_v1alpha, v1alpha);
