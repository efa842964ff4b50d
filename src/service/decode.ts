import { nextTask } from "../decoding/next-task.ts";
import type { FinishReason, GenerateOptions, Model } from "../engine/model.ts";

/** One text to make: OpenAI's `choices[index]`. */
export interface ChoiceJob {
  readonly index: number;
  readonly prompt: readonly number[];
  readonly options: GenerateOptions;
}

/** What happened to a choice: some text came, or it is finished. */
export type ChoiceEvent =
  | { readonly text: string; readonly finish?: undefined }
  | { readonly finish: FinishReason; readonly tokens: number };

/**
 * Decodes one choice in a session of its own. At most one token is computed per event, so whoever pulls sets the
 * pace, and `return()` closes the session. `onToken` is called for each, also those that give no text yet.
 */
export async function* decode(
  model: Model,
  { prompt, options }: ChoiceJob,
  signal: AbortSignal | undefined,
  onToken: () => void,
): AsyncGenerator<ChoiceEvent, void, void> {
  const pieces = model.generate(prompt, { ...options, signal });
  try {
    for (;;) {
      const step = await pieces.next();
      if (step.done) {
        const { finishReason, tokens } = step.value;
        yield { finish: finishReason, tokens: tokens.length };
        return;
      }
      onToken();
      if (step.value.text !== "") yield step.value;
      else await nextTask();
    }
  } finally {
    await pieces.return(undefined as never);
  }
}
