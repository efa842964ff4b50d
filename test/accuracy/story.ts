/**
 * What the embedded models are measured on: a story in the style that they learnt, in none of their training data.
 * More than 512 tokens of their tokenizer.
 */
export const STORY = `One day a little girl named Mia found a red kite behind the shed. It had a long tail with blue and yellow bows, but one of its sticks was broken. "Poor kite," said Mia. "I will help you fly again." She took the kite to her grandpa, who was sitting in the garden with a cup of tea.

Grandpa looked at the kite and smiled. "I had a kite like this when I was small," he said. "We need some glue, a new stick and a lot of string." They went to the shed together. It was dark and full of dust, and Mia was a little scared of the spiders. But grandpa held her hand, and soon they had everything they needed.

They worked all morning. Grandpa cut the stick and Mia put the glue on it. Then they had to wait until the glue was dry. "Waiting is hard," said Mia. "Yes," said grandpa, "but good things take time." So they ate some bread with jam and watched the clouds. One cloud looked like a rabbit, and another one looked like a big fish.

In the afternoon they walked up the hill. The wind was strong and the grass moved like water. Mia ran as fast as she could, and grandpa let the kite go. Up, up, up it went, higher than the trees and higher than the birds. Mia laughed and jumped. "Look, grandpa! It can touch the sun!"

Then a boy named Ben came up the hill with his dog. He was sad because he had no kite. Mia looked at the kite and looked at Ben. She did not want to let go of the string, but she remembered that sharing is nice. "Do you want to hold it?" she asked. Ben's eyes became very big. "Can I really?" he said. He took the string with both hands, and the kite danced in the sky.

Suddenly the wind pulled very hard and the string slipped out of Ben's hands. The kite flew away, over the river and into a tall tree. Ben started to cry. "I am so sorry," he said. Mia was sad too, but she was not angry. "It was an accident," she said. "Let's go and get it back."

They all ran to the tree. The kite was too high for them to reach, even for grandpa. Then the dog barked at the tree, and a squirrel came out to see what was happening. It ran along the branch, right over the string, and the kite fell down into Mia's arms. Everyone cheered. "Thank you, squirrel!" they said.

From that day on, Mia and Ben were best friends. Every Sunday they went up the hill with grandpa, the dog and the red kite. And they always left some nuts under the tall tree, for the squirrel who had helped them.`;

/** Beginnings whose greedy continuations are compared. */
export const PROMPTS = [
  "Once upon a time",
  "Tom and his sister went to the beach. They wanted to build",
  '"Why are you crying?" asked the old owl.',
  "The little dragon could not breathe fire. Every day",
  "One morning, 3 ducks swam across the café's pond: quack! 🦆",
  "Lily lost her favourite ball. She looked under the bed and behind the door, but it was not there. Then she",
];
