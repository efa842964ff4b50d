import type { ChatMessage, ToolCall } from "../model/chat-template.ts";
import type { MessageBody, ToolChoice } from "./schemas/messages.ts";

/** A chat in the model's words. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Functions that may be called; empty: none. */
  readonly tools: readonly object[];
}

interface Body {
  readonly messages: readonly MessageBody[];
  readonly tools?: readonly object[] | null;
  readonly tool_choice?: ToolChoice | null;
}

export function readConversation({ messages, tools, tool_choice }: Body): Conversation {
  return {
    messages: messages.map(readMessage),
    // To leave them out is what keeps a model from calling them.
    tools: tool_choice === "none" ? [] : (tools ?? []),
  };
}

function readMessage({ role, content, tool_calls, tool_call_id }: MessageBody): ChatMessage {
  return {
    // OpenAI's newer word for the same thing; templates know the older one.
    role: role === "developer" ? "system" : role,
    content: (content ?? []).map(({ text }) => text).join("\n"),
    ...(tool_calls?.length && { toolCalls: tool_calls.map(readCall) }),
    ...(tool_call_id != null && { toolCallId: tool_call_id }),
  };
}

function readCall({ id, function: called }: NonNullable<MessageBody["tool_calls"]>[number]): ToolCall {
  return { ...(id != null && { id }), name: called.name, arguments: readArguments(called.arguments) };
}

/** OpenAI has them as a text, templates as an object. */
function readArguments(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
