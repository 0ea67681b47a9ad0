"""Drives a server with the official MCP client: python mcp_check.py --url URL | COMMAND...

Needs `mcp` and `jsonschema`. The indexed folder must hold at least one file. Prints one line a check; the exit code is
the number of checks that failed.
"""

import argparse
import asyncio
import contextlib
import sys
import time

import jsonschema
from mcp import Client, MCPError, StdioServerParameters

QUERIES = ["retry with backoff", "\"'`;--\\", "🦀🚀", "?!*()[]{}", "a", "x" * 10_000, "struct inode *", "SELECT * FROM t", "日本語"]

failures = []


def check(name, good, detail=""):
    print(f"{'ok  ' if good else 'FAIL'} {name}{'' if good else f': {detail}'}", flush=True)
    if not good:
        failures.append(name)


def text_of(result):
    return "\n".join(block.text for block in result.content)


async def check_tools(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    check("three tools are advertised", sorted(tools) == ["context_grep", "context_index_control", "context_search"], tools)
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    return tools


async def call(client, tools, name, arguments, **more):
    """Calls a tool that must answer, and checks its answer against the advertised schemas."""
    tool = tools[name.replace(".", "_")]
    jsonschema.validate(arguments, tool.input_schema)
    result = await client.call_tool(name, arguments, **more)
    if result.is_error:
        raise AssertionError(text_of(result))
    jsonschema.validate(result.structured_content, tool.output_schema)
    return result


async def check_search(client, tools):
    for name in ["context_search", "context.search"]:
        for query in QUERIES:
            result = await call(client, tools, name, {"query": query, "top_k": 5})
            check(f"{name} answers {query[:20]!r}", len(result.structured_content["results"]) <= 5)
    whole = (await call(client, tools, "context_search", {"query": "function", "top_k": 30})).structured_content
    pages = [await call(client, tools, "context_search", {"query": "function", "top_k": 10, "offset": at}) for at in (0, 10, 20)]
    paged = [result["id"] for page in pages for result in page.structured_content["results"]]
    check("pages are slices of one ranking", paged == [result["id"] for result in whole["results"]], (paged, whole))
    filters = {"filters": {"languages": ["c"], "paths": ["**/*.c"], "source_types": ["code"], "date_range": {"from": "1990-01-01"}}}
    await call(client, tools, "context_search", {"query": "lock", **filters})


async def check_mistakes(client):
    for name, arguments, says in [
        ("context_search", {}, "query: is required"),
        ("context_search", {"query": ""}, "query: is empty"),
        ("context_search", {"query": "x", "top_k": 0}, "from 1 to 100"),
        ("context_search", {"query": "x", "topk": 3}, "did you mean `top_k`"),
        ("context_search", {"query": "x", "filters": {"languages": ["klingon"]}}, "klingon"),
        ("context_grep", {"pattern": "("}, "unclosed group"),
        ("context_grep", {"pattern": "x", "path": "../.."}, "leads out of the root"),
        ("context_index_control", {"action": "explode"}, "force_reindex"),
        ("context_index_control", {"action": "reindex_paths", "paths": ["/etc"]}, "leads out of the root"),
    ]:
        result = await client.call_tool(name, arguments)
        check(f"{name} {arguments} is an error result", result.is_error and says in text_of(result), text_of(result))
    for name, coroutine, code in [
        ("an unknown tool", client.call_tool("context_explain", {}), -32602),
        ("an unknown resource", client.read_resource("engine://file/no/such/file"), None),
        ("prompts", client.list_prompts(), -32601),
    ]:
        try:
            check(name, False, await coroutine)
        except MCPError as error:
            check(f"{name} is a protocol error", code is None or error.error.code == code, error)


async def check_grep(client, tools):
    result = (await call(client, tools, "context_grep", {"pattern": r"\w+", "max_results": 7, "context": 1})).structured_content
    check("grep cuts and says so", len(result["results"]) == 7 and result["truncated"] and result["total_count"] > 7, result)
    ordered = [(match["file"], match["line"]) for match in result["results"]]
    check("grep is in order", ordered == sorted(ordered), ordered)
    check("grep matches", all(match["match"] in match["content"] for match in result["results"]), result)


async def check_index(client, tools):
    status = (await call(client, tools, "context_index_control", {"action": "status"})).structured_content
    check("the index has a state", status["index"]["files"] >= 0, status)
    seen = []

    async def progress(done, total, message):
        seen.append((done, total, message))

    started = await call(client, tools, "context_index_control", {"action": "start"}, progress_callback=progress)
    check("a run with a progress token is waited for", not started.structured_content["running"], started)
    check("progress is reported and grows", seen and seen == sorted(seen, key=lambda step: step[0]), seen)
    started = time.monotonic()
    call_again = asyncio.create_task(
        client.call_tool("context_index_control", {"action": "force_reindex"}, progress_callback=progress)
    )
    await asyncio.sleep(0.3)
    call_again.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call_again
    stopped = await call(client, tools, "context_index_control", {"action": "stop"})
    check("a run is stopped", not stopped.structured_content["running"], stopped)
    check("stopping takes little", time.monotonic() - started < 5, time.monotonic() - started)
    done = await call(client, tools, "context_index_control", {"action": "start"}, progress_callback=progress)
    check("the index is whole again", done.structured_content["index"]["complete"], done)
    return done.structured_content["index"]["files"]


async def check_resources(client, files):
    resources, cursor = [], None
    while True:
        page = await client.list_resources(cursor=cursor)
        resources += page.resources
        cursor = page.next_cursor
        if cursor is None or len(resources) > 5000:
            break
    uris = [str(resource.uri) for resource in resources]
    check("resources are listed once each", len(set(uris)) == len(uris) and (cursor or len(uris) == files + 1), (len(uris), files))
    templates = (await client.list_resource_templates()).resource_templates
    check("a template is listed", any(t.uri_template == "engine://file/{+path}" for t in templates), templates)
    read = await client.read_resource(uris[1])
    check("a file is read", len(read.contents) == 1, read)
    directory = await client.read_resource("engine://files/")
    check("the directory is read", '"files"' in directory.contents[0].text, directory)


async def run(target, mode, client_count):
    print(f"-- {mode}", flush=True)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(target(), mode=mode))
        print(f"     protocol {client.protocol_version}, server {client.server_info}", flush=True)
        tools = await check_tools(client)
        if mode == "legacy":
            await client.send_ping()
        files = await check_index(client, tools)
        await check_search(client, tools)
        await check_grep(client, tools)
        await check_mistakes(client)
        await check_resources(client, files)
        asked = [client.call_tool("context_search", {"query": f"word {i}"}) for i in range(client_count)]
        answers = await asyncio.gather(*asked)
        check(f"{client_count} calls at once are answered", all(not answer.is_error for answer in answers))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.url:
        target = lambda: given.url
    else:
        target = lambda: StdioServerParameters(command=given.command[0], args=given.command[1:])
    for mode in ["legacy", "auto"]:
        asyncio.run(run(target, mode, 50))
    print(f"{len(failures)} failed: {failures}" if failures else "all good")
    sys.exit(min(len(failures), 100))


if __name__ == "__main__":
    main()
