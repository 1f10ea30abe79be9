//! The text on `/`: what answers here, and in dev lines to copy into a terminal.

/// For `fanwire serve`: only what an operator asks.
pub fn serve_page(version: &str) -> String {
    format!(
        "fanwire {version}\n\
         \n\
         /health    alive, and which reactor answers\n\
         /ready     200 once started, 503 while stopping\n\
         /metrics   OpenMetrics\n"
    )
}

/// The key of the documents, which `fanwire dev` knows.
const ENDPOINTS_KEY: &str = "d59eb2859c284168ac48aef65046d5dd";

/// For `fanwire dev`: the contract of what can be tried, with the credentials that everybody knows.
///
/// `address` is host and port as they are reached.
pub fn dev_page(version: &str, address: &str) -> String {
    format!(
        "fanwire {version}, dev: everything on one port, in memory only, credentials that everybody knows\n\
         \n\
         Listen (auth_token=dev for every channel, dev-limited for those that begin with public):\n\
         \n\
         \x20 curl -N 'http://{address}/ev/a?auth_token=dev'\n\
         \x20 curl -N 'http://{address}/stream/a?auth_token=dev'\n\
         \x20 curl 'http://{address}/longpoll/a/b?auth_token=dev'\n\
         \x20 curl 'http://{address}/shortpoll/a/b?auth_token=dev'\n\
         \x20 new WebSocket('ws://{address}/websocket/a/b?auth_token=dev')      in a browser's console\n\
         \n\
         Listen to Action Cable (channel ApiChannel, key dev), in a browser's console:\n\
         \n\
         \x20 cable = new WebSocket('ws://{address}/cable', ['actioncable-v1-json'])\n\
         \x20 cable.onmessage = (frame) => console.log(frame.data)\n\
         \x20 cable.send(JSON.stringify({{command: 'subscribe',\n\
         \x20   identifier: JSON.stringify({{channel: 'ApiChannel', key: 'dev', events: 'posts'}})}}))\n\
         \n\
         Listen to documents of the project testProj (its name and testOrg's in base58), in a browser's console:\n\
         \n\
         \x20 socket = new WebSocket('ws://{address}/api/realtime',\n\
         \x20   ['zvtwh2Pc4738C3hkLXwcLbY3LnsqYfMmKG2NWiWNE9yL8xVwQhcLFKCzzne1fqbf'])\n\
         \x20 socket.onmessage = (frame) => console.log(frame.data)\n\
         \x20 socket.send(JSON.stringify({{action: 'subscribe',\n\
         \x20   resource: {{type: 'kvStore', id: 'World:kvstoreClient:testKey'}}}}))\n\
         \n\
         Listen to the records of an endpoint (as YAWE under the host app.yawe.dev), in a browser's console:\n\
         \n\
         \x20 changes = new WebSocket('ws://{address}/api/1/ce/examples/unsecure-endpoint?key={ENDPOINTS_KEY}')\n\
         \x20 changes.onmessage = (frame) => console.log(frame.data)\n\
         \n\
         Publish:\n\
         \n\
         \x20 curl -H 'Authorization: Bearer dev' 'http://{address}/pub?id=a' -d '{{\"hello\":\"world\"}}'\n\
         \x20 curl -H 'Authorization: Bearer dev' -H 'Content-Type: application/json' http://{address}/publish \\\n\
         \x20   -d '{{\"topic\":\"a\",\"data\":{{\"hello\":\"world\"}}}}'\n\
         \n\
         Publish to Action Cable, as metasmoke does and as AnyCable's publishers do:\n\
         \n\
         \x20 curl -H 'Authorization: Bearer dev' http://{address}/api/events \\\n\
         \x20   -d '{{\"event_class\":\"Post\",\"event_type\":\"create\",\"object\":{{\"id\":1}}}}'\n\
         \x20 curl -H 'Authorization: Bearer dev' http://{address}/_broadcast \\\n\
         \x20   -d '{{\"stream\":\"api:posts_create\",\"data\":\"{{\\\"id\\\":2}}\"}}'\n\
         \n\
         Write a document:\n\
         \n\
         \x20 curl -X PUT -H 'x-api-key: dev' -H 'x-m2-organization: testOrg' -H 'x-m2-project: testProj' \\\n\
         \x20   -H 'Content-Type: application/json' -d '{{\"score\":1}}' \\\n\
         \x20   http://{address}/api/realtime/resources/kvStore/World:kvstoreClient:testKey\n\
         \n\
         Change records, everybody's and those of a user (with masterKey=dev all of them are seen):\n\
         \n\
         \x20 curl -H 'Content-Type: application/json' -d '{{\"someNewData\":\"test\"}}' \\\n\
         \x20   'http://{address}/api/1/ce/examples/unsecure-endpoint?key={ENDPOINTS_KEY}'\n\
         \x20 curl -H 'Content-Type: application/json' -d '{{\"username\":\"anna\",\"password\":\"correct horse\"}}' \\\n\
         \x20   'http://{address}/api/1/ce/examples/users?key={ENDPOINTS_KEY}'\n\
         \x20 curl -i -H 'Content-Type: application/json' -d '{{\"username\":\"anna\",\"password\":\"correct horse\"}}' \\\n\
         \x20   'http://{address}/api/1/ce/examples/users?key={ENDPOINTS_KEY}&login=true&noATCookie=true'\n\
         \x20 curl 'http://{address}/api/1/ce/examples/notes?key={ENDPOINTS_KEY}&masterKey=dev'\n\
         \n\
         Look:\n\
         \n\
         \x20 curl -H 'Authorization: Bearer dev' 'http://{address}/channels-stats?id=ALL'\n\
         \x20 curl http://{address}/api/realtime/status\n\
         \x20 curl http://{address}/health\n\
         \x20 curl http://{address}/ready\n\
         \x20 curl http://{address}/metrics\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dev_page_names_every_way_in_at_its_address() {
        let page = dev_page("1.2.3", "127.0.0.1:8080");
        let listening = ["/ev/a", "/stream/a", "/longpoll/a/b", "/shortpoll/a/b", "/websocket/a/b", "/cable", "/api/realtime'"];
        let others = ["/pub?id=a", "/publish", "/api/events", "/_broadcast", "/api/realtime/resources/kvStore/", "/metrics"];
        let records = [
            "/api/1/ce/examples/unsecure-endpoint?key=d59eb2859c284168ac48aef65046d5dd'",
            "/api/1/ce/examples/users?",
            "/api/1/ce/examples/notes?",
        ];
        for path in listening.into_iter().chain(others).chain(records) {
            assert!(page.contains(&format!("://127.0.0.1:8080{path}")), "{path}\n{page}");
        }
        assert!(page.contains(r#"-d '{"topic":"a","data":{"hello":"world"}}'"#), "{page}");
    }

    #[test]
    fn the_page_of_a_server_shows_no_credentials() {
        let page = serve_page("1.2.3");
        assert!(page.starts_with("fanwire 1.2.3\n") && page.contains("/metrics") && !page.contains("Bearer"), "{page}");
    }
}
