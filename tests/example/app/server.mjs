// Answers on port 1337: /health says that we live, everything else says whether the database can be reached.
import { createServer } from "node:http";
import { connect } from "node:net";

const built = BUILT_AT;
const host = process.env.DATABASE_HOST ?? "localhost";

function reachable() {
  return new Promise((resolve) => {
    const socket = connect({ host, port: 5432, timeout: 2000 });
    const say = (answer) => () => { socket.destroy(); resolve(answer); };
    socket.on("connect", say(true)).on("error", say(false)).on("timeout", say(false));
  });
}

const server = createServer(async (request, response) => {
  if (request.url === "/health") return response.end("ok\n");
  const database = await reachable();
  response.statusCode = database ? 200 : 503;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ built, database: { host, reachable: database } }) + "\n");
});
server.listen(1337);
// PID 1 ignores signals it does not handle: without this, `docker stop` waits ten seconds and kills.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
