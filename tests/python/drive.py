"""Drives an MCP server with the official Python SDK.

usage: drive.py http URL            the server at URL, over Streamable HTTP
       drive.py stdio COMMAND...    the server that COMMAND starts, over standard input and output
       drive.py legacy-http URL, legacy-stdio COMMAND...   the same, by the handshake of revision 2025-11-25 and older

Reads a JSON list of operations from standard input, runs them in order in one session, and writes a JSON list of their
outcomes. Operations: {"tools": true}, {"call": NAME, "arguments": {..}, "repeat": N}, {"resources": true, "cursor": C},
{"templates": true}, {"read": URI}, {"ping": true}, {"server": true}, {"together": [operations]} (at the same time).

Structured content is validated against the output schema that the server declares.
"""

import asyncio
import json
import os
import sys

import jsonschema
from mcp import Client, MCPError, StdioServerParameters


def connect(kind: str, rest: list[str]) -> Client:
    mode = "legacy" if kind.startswith("legacy-") else "auto"
    if kind.endswith("http"):
        return Client(rest[0], mode=mode)
    # The server gets this process' environment: the harness made it.
    return Client(StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ)), mode=mode)


async def perform(client: Client, schemas: dict, operation: dict):
    try:
        if "together" in operation:
            return await asyncio.gather(*(perform(client, schemas, one) for one in operation["together"]))
        if "call" in operation:
            return [await call(client, schemas, operation) for _ in range(operation.get("repeat", 1))][-1]
        if "tools" in operation:
            return dump(await client.list_tools())
        if "resources" in operation:
            return dump(await client.list_resources(cursor=operation.get("cursor")))
        if "templates" in operation:
            return dump(await client.list_resource_templates())
        if "read" in operation:
            return dump(await client.read_resource(operation["read"]))
        if "ping" in operation:
            return dump(await client.send_ping())
        if "server" in operation:
            return {"version": client.protocol_version, "info": dump(client.server_info)}
    except MCPError as error:
        return {"error": {"code": error.error.code, "message": error.error.message}}
    raise SystemExit(f"unknown operation: {operation}")


async def call(client: Client, schemas: dict, operation: dict):
    heard = []

    async def on_progress(progress, total, message):
        heard.append({"progress": progress, "total": total, "message": message})

    callback = on_progress if operation.get("progress") else None
    result = await client.call_tool(
        operation["call"], operation.get("arguments"), progress_callback=callback, meta=operation.get("meta"))
    schema = schemas.get(operation["call"])
    if schema is not None and not result.is_error:
        jsonschema.validate(result.structured_content, schema)
    return {
        "is_error": bool(result.is_error),
        "text": "\n".join(part.text for part in result.content if part.type == "text"),
        "structured": result.structured_content,
        "progress": heard,
    }


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main() -> None:
    operations = json.load(sys.stdin)
    async with connect(sys.argv[1], sys.argv[2:]) as client:
        tools = (await client.list_tools()).tools
        schemas = {tool.name: tool.output_schema for tool in tools if tool.output_schema}
        outcomes = [await perform(client, schemas, operation) for operation in operations]
    json.dump(outcomes, sys.stdout)


asyncio.run(main())
