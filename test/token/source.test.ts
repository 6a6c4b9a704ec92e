import { describe, expect, test } from "bun:test";
import type { TokenSource } from "../../src/route.ts";
import { findToken, withoutToken } from "../../src/token/source.ts";

const authorization: TokenSource = { kind: "header", name: "Authorization" };
const abc: TokenSource = { kind: "header", name: "AbcAuthorization" };
const parameter: TokenSource = { kind: "parameter", name: "jwt_token" };
const query: TokenSource = { kind: "query" };
const path: TokenSource = { kind: "path" };

function find(sources: TokenSource[], request: { headers?: Record<string, string>; query?: string; pathToken?: string } = {}) {
  return findToken(sources, {
    headers: new Headers(request.headers).toJSON() as Record<string, string>, query: request.query ?? "", pathToken: request.pathToken ?? null,
  });
}

describe("token in a header", () => {
  test.each([
    ["Bearer abc", "abc"], ["bearer abc", "abc"], ["BEARER   abc", "abc"], ["Bearer", ""],
  ])("Authorization: %s holds %p", (value, token) => {
    expect(find([authorization], { headers: { authorization: value } })).toEqual({ token, source: authorization });
  });

  test.each(["Basic YTpi", "Digest x", "abc", "Bearerabc", "Token abc"])("Authorization: %s holds none", (value) => {
    expect(find([authorization], { headers: { authorization: value } })).toBeNull();
  });

  test.each([["abc", "abc"], ["Bearer abc", "abc"], ["bEARER abc", "abc"]])("AbcAuthorization: %s holds %p", (value, token) => {
    expect(find([abc], { headers: { ABCAuthorization: value } })?.token).toBe(token);
  });

  test("two Authorization headers make one that is no token", () => {
    const headers = new Headers([["authorization", "Bearer a.b.c"], ["authorization", "Bearer d.e.f"]]);
    expect(findToken([authorization], { headers: headers.toJSON() as Record<string, string>, query: "", pathToken: null })?.token).toContain(",");
  });

  test("an empty header is an absent one", () => {
    expect(find([abc, path], { headers: { abcauthorization: "" }, pathToken: "p" })?.source).toBe(path);
  });
});

describe("token in the query", () => {
  test.each([
    ["jwt_token=abc", "abc"], ["a=1&jwt_token=abc&b=2", "abc"], ["jwt_token=", ""], ["jwt_token", ""], ["jwt_token=a%2Eb", "a%2Eb"],
    ["jwt_token=a=b", "a=b"], ["jwt_token=abc&jwt_token=abc", "abc"], ["jwt_token=a&jwt_token=b", "a,b"],
  ])("?%s holds %p as parameter", (text, token) => {
    expect(find([parameter], { query: text })).toEqual({ token, source: parameter });
  });

  test.each(["", "x=1", "my_jwt_token=abc", "jwt_token2=abc", "JWT_TOKEN=abc", "jwt%5Ftoken=abc", "a=jwt_token"])("?%s holds none as parameter", (text) => {
    expect(find([parameter], { query: text })).toBeNull();
  });

  test("the whole query is a token unless there is a parameter, in either order of the sources", () => {
    expect(find([query, parameter], { query: "a.b.c" })).toEqual({ token: "a.b.c", source: query });
    expect(find([query, parameter], { query: "jwt_token=a.b.c" })).toEqual({ token: "a.b.c", source: parameter });
    expect(find([query], { query: "jwt_token=a.b.c" })).toBeNull();
    expect(find([query])).toBeNull();
  });

  test.each(["rows=5", "a&b", "a.b.c&x=1"])("a query with parameters is no token: ?%s", (text) => {
    expect(find([query], { query: text })).toBeNull();
  });
});

describe("order of sources", () => {
  test("the first one present wins, good or bad", () => {
    const request = { headers: { authorization: "Bearer good", abcauthorization: "bad" }, query: "jwt_token=", pathToken: "p" };
    expect(find([abc, authorization], request)?.token).toBe("bad");
    expect(find([authorization, abc], request)?.token).toBe("good");
    expect(find([parameter, authorization], request)).toEqual({ token: "", source: parameter });
    expect(find([path, parameter], request)?.token).toBe("p");
  });

  test("an absent one is passed over", () => {
    expect(find([path, parameter, authorization, abc], { headers: { authorization: "Basic x", abcauthorization: "t" } })?.token).toBe("t");
    expect(find([path, parameter, query, authorization, abc])).toBeNull();
    expect(find([], { query: "abc" })).toBeNull();
  });
});

describe("withoutToken", () => {
  test.each([
    ["jwt_token=abc", ""], ["a=1&jwt_token=abc&b=2", "a=1&b=2"], ["jwt_token=a&x&jwt_token=b", "x"], ["jwt_token", ""],
    ["b=%2F&&c=+&jwt_token=x", "b=%2F&&c=+"], ["my_jwt_token=1&jwt_token=2", "my_jwt_token=1"],
  ])("takes the parameter out of ?%s", (text, rest) => {
    expect(withoutToken(text, { token: "unrelated", source: parameter })).toBe(rest);
  });

  test("takes all of a query that is the token, and nothing of one that is not", () => {
    expect(withoutToken("a.b.c", { token: "a.b.c", source: query })).toBe("");
    for (const source of [authorization, abc, path]) expect(withoutToken("a=1&jwt_token=x", { token: "t", source })).toBe("a=1&jwt_token=x");
  });

  test.each([["a=1&jwt_token=t.t.t&b", "a=1&b"], ["t.t.t", ""], ["a=t.t.t&b=t.t.t2", "b=t.t.t2"]])("takes copies of a header's token out of ?%s", (text, rest) => {
    expect(withoutToken(text, { token: "t.t.t", source: abc })).toBe(rest);
  });
});
