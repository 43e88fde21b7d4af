// The service as functions: one way to ask it, its refusals as errors, the token.

const KEY = "lookalike-token";

/** A refusal: `message` is the service's sentence, `status` is 0 where it can't be reached. */
export class Problem extends Error {
  constructor(message, status, more = {}) {
    super(message);
    this.status = status;
    this.more = more;
  }
}

/** The token said in this tab, or null: then the browser's own login speaks. */
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (said) => sessionStorage.setItem(KEY, said),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Ask the service; returns its JSON. `json` or `form` is the body. Throws a Problem. */
export async function ask(path, { method = "GET", json, form, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const said = token.get();
  if (said) headers.Authorization = `Bearer ${said}`;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      body: json === undefined ? form : JSON.stringify(json),
      // With a token of its own a request needs no login, and a wrong one opens no dialog.
      credentials: said ? "omit" : "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service can't be reached: see whether it is still running.", 0);
  }
  if (answer.ok) return answer.json();
  throw await refusal(answer);
}

async function refusal(answer) {
  const told = await answer.json().catch(() => ({}));
  const detail = told.detail || `The service answered ${answer.status}.`;
  if (answer.status === 401) {
    document.dispatchEvent(new CustomEvent("token-needed", { detail }));
  }
  return new Problem(detail, answer.status, told);
}

/** Follow a job by its server-sent events; resolves with its end, rejects with why it failed. */
export function follow(job, told) {
  return new Promise((resolve, reject) => {
    const stream = new EventSource(`/v1/jobs/${job.id}/events`);
    const end = (settle) => (event) => {
      stream.close();
      settle(JSON.parse(event.data));
    };
    stream.addEventListener("progress", (event) => told(JSON.parse(event.data)));
    stream.addEventListener("done", end(resolve));
    stream.addEventListener("failed", end((last) => reject(new Problem(last.problem, 200))));
    stream.addEventListener("error", () => {
      // Else the browser comes again by itself.
      if (stream.readyState === EventSource.CLOSED) {
        reject(new Problem("The service no longer tells how far it is: load this page again.", 0));
      }
    });
  });
}

/** Begin a job, or take the one of this kind that is in the way, and follow it to its end. */
export async function work(path, plan, told) {
  let job;
  try {
    job = await ask(path, { method: "POST", json: plan });
  } catch (problem) {
    const running = problem.more?.job;
    if (!running) throw problem;
    job = await ask(`/v1/jobs/${running}`);
    if (job.result !== path) throw problem;
  }
  return follow(job, told);
}
