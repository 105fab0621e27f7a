//! Logs that outlive their containers, by our own API.

use e2e::http::{self, Response, Until};
use e2e::{Docker, Options, Server};
use serde_json::Value;

const ANN: u32 = 5;
const BEN: u32 = 6;

fn house() -> (Server, Docker) {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
    }
    let ann = server.docker_as(ANN);
    server.load_busybox_for(&ann);
    (server, ann)
}

fn ask(server: &Server, uid: u32, method: &str, path: &str) -> Response {
    let socket = server.socket();
    http::by_account(uid, || http::send(&socket, method, path, &[], b"", Until::End)).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

fn list(server: &Server, uid: u32) -> Vec<Value> {
    ask(server, uid, "GET", "/api/v1/logs").json().as_array().expect("a list").clone()
}

#[test]
fn a_log_stays_under_its_containers_name_and_generation() {
    let (mut server, ann) = house();
    ann.text(&["run", "--rm", "--name", "job", "busybox", "echo", "first"]);
    ann.text(&["run", "--rm", "--name", "job", "--log-driver", "json-file", "busybox", "echo", "second"]);
    ann.text(&["run", "--name", "job", "busybox", "echo", "third"]);
    ann.text(&["run", "--rm", "busybox", "true"]); // said nothing: there is nothing to keep
    let logs = list(&server, ANN);
    let told: Vec<_> =
        logs.iter().map(|l| (l["name"].as_str().unwrap(), l["generation"].as_u64().unwrap(), l["removed"].is_null())).collect();
    assert_eq!(told, [("job", 3, true), ("job", 2, false), ("job", 1, false)], "{logs:?}");
    assert!(logs[2]["from"].as_str() <= logs[2]["to"].as_str() && logs[2]["bytes"].as_u64() > Some(0), "{logs:?}");
    let text = |log: &Value| ask(&server, ANN, "GET", &format!("/api/v1/logs/{}?format=text", log["id"].as_str().unwrap())).text();
    assert_eq!(logs.iter().map(text).collect::<Vec<_>>(), ["third\n", "second\n", "first\n"]);
    // A name is that of the container that is there; when it is gone, its newest log.
    assert_eq!(ask(&server, ANN, "GET", "/api/v1/logs/job?format=text").text(), "third\n");
    assert_eq!(ask(&server, ANN, "DELETE", "/api/v1/logs/job").status, 409);
    ann.text(&["rm", "job"]);
    assert_eq!(ask(&server, ANN, "GET", "/api/v1/logs/job?format=text").text(), "third\n");
    assert_eq!(ask(&server, ANN, "GET", "/api/v1/logs/job").json()["text"], "third");

    // All of them are searched, from either end.
    let found = |uid, query: &str| -> Vec<Value> {
        let answer = ask(&server, uid, "GET", &format!("/api/v1/logs/search?{query}"));
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let hits = found(ANN, "q=IR%3Fd%24&regex=true&ignore_case=true&order=oldest");
    assert_eq!((hits[0]["text"].as_str(), &hits[0]["matches"][0]), (Some("third"), &serde_json::json!([2, 5])), "{hits:?}");
    assert_eq!((hits[1]["kind"].as_str(), hits[1]["cursor"].is_null()), (Some("end"), true), "{hits:?}");
    let first = found(ANN, "limit=1");
    assert_eq!(first[0]["text"], "third", "{first:?}");
    let rest = found(ANN, &format!("cursor={}", first[1]["cursor"].as_str().unwrap()));
    assert_eq!(rest.iter().filter_map(|hit| hit["text"].as_str()).collect::<Vec<_>>(), ["second", "first"]);
    assert_eq!(found(BEN, "q=t").len(), 1, "Ben finds what is Ann's");

    assert!(list(&server, BEN).is_empty());
    let first = format!("/api/v1/logs/{}", logs[2]["id"].as_str().unwrap());
    assert_eq!(ask(&server, BEN, "GET", &first).status, 404);
    assert_eq!(ask(&server, BEN, "DELETE", &first).status, 404);
    let used = ask(&server, ANN, "GET", "/api/v1/disk").json()["logs"].as_u64();
    assert!(used > Some(0), "{used:?}");

    assert_eq!(ask(&server, ANN, "DELETE", &first).status, 204);
    assert_eq!(ask(&server, ANN, "GET", &first).status, 404);
    server.kill();
    server.restart();
    let left: Vec<_> = list(&server, ANN).iter().map(|l| l["generation"].as_u64().unwrap()).collect();
    assert_eq!(left, [3, 2]);
    assert_eq!(ask(&server, ANN, "GET", "/api/v1/logs/job?format=text").text(), "third\n");

    // Without retention they go, those from before too.
    server.stop();
    server.start_again(vec![("WHARF_KEEP_LOGS_DAYS".to_owned(), "0".to_owned())]);
    e2e::until("the kept logs are gone", || list(&server, ANN).is_empty().then_some(()));
    ann.text(&["run", "--rm", "busybox", "echo", "unheard"]);
    assert!(list(&server, ANN).is_empty());
}
